//! The widgets of a `CloudWatch` dashboard as one SVG.

use std::collections::BTreeMap;

use end_to_end::account::Account;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::Value;
use template::Series;

/// Pixels of a column and of a row of the dashboard's grid.
const COLUMN: i32 = 42;
const ROW: i32 = 38;
const INK: RGBColor = RGBColor(22, 25, 31);
const GREY: RGBColor = RGBColor(120, 126, 135);
const FRAME: RGBColor = RGBColor(213, 219, 219);
/// What `CloudWatch` draws with where the dashboard names no colour.
const COLOURS: [&str; 5] = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What there is to see.
pub(crate) struct Picture<'a> {
    /// Whose metrics and alarms.
    pub(crate) account: &'a Account,
    /// The log lines of failures.
    pub(crate) failures: Vec<Value>,
}

/// A metric of a widget.
struct Line {
    series: Series,
    statistic: String,
    label: String,
    colour: RGBColor,
    is_on_the_right: bool,
}

impl Picture<'_> {
    /// Draws a dashboard's body.
    pub(crate) fn draw(&self, dashboard: &Value) -> String {
        let widgets = dashboard["widgets"].as_array().unwrap();
        let number =
            |widget: &Value, name: &str| i32::try_from(widget[name].as_i64().unwrap()).unwrap();
        let height = widgets
            .iter()
            .map(|widget| number(widget, "y") + number(widget, "height"))
            .max()
            .unwrap();
        let size = (
            u32::try_from(24 * COLUMN).unwrap(),
            u32::try_from(height * ROW).unwrap(),
        );
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&RGBColor(242, 243, 243)).unwrap();
            for widget in widgets {
                let [x, y, width, height] =
                    ["x", "y", "width", "height"].map(|name| number(widget, name));
                let corner = (x * COLUMN, y * ROW);
                let size = (
                    u32::try_from(width * COLUMN).unwrap(),
                    u32::try_from(height * ROW).unwrap(),
                );
                self.draw_widget(
                    widget,
                    &root.clone().shrink(corner, size).margin(3, 3, 3, 3),
                );
            }
            root.present().unwrap();
        }
        svg
    }

    fn draw_widget(&self, widget: &Value, area: &Area<'_>) {
        let properties = &widget["properties"];
        let kind = widget["type"].as_str().unwrap();
        if kind == "text" {
            return draw_markdown(properties["markdown"].as_str().unwrap(), area);
        }
        let (width, height) = size(area);
        area.draw(&Rectangle::new([(0, 0), (width, height)], WHITE.filled()))
            .unwrap();
        area.draw(&Rectangle::new([(0, 0), (width, height)], FRAME))
            .unwrap();
        write(
            area,
            (10, 8),
            properties["title"].as_str().unwrap(),
            14,
            INK,
        );
        match (kind, properties["view"].as_str()) {
            ("alarm", _) => self.draw_alarms(properties, area),
            ("log", _) if properties["query"].as_str().unwrap().contains("ERROR") => {
                self.draw_failures(area);
            }
            ("log", _) => self.draw_connections(area),
            (_, Some("singleValue")) => self.draw_values(properties, area),
            _ => self.draw_lines(properties, area),
        }
    }

    fn draw_alarms(&self, properties: &Value, area: &Area<'_>) {
        let raised = self.account.in_alarm();
        let (width, height) = size(area);
        for (at, alarm) in (0..).zip(properties["alarms"].as_array().unwrap()) {
            let name = alarm
                .as_str()
                .unwrap()
                .trim_matches(['$', '{', '}'])
                .trim_end_matches(".Arn");
            let is_raised = raised.iter().any(|raised| raised == name);
            let (cell_width, cell_height) = ((width - 20) / 2, (height - 36) / 7);
            let (x, y) = (10 + at % 2 * cell_width, 30 + at / 2 * cell_height);
            let (colour, state) = if is_raised {
                (RGBColor(209, 50, 18), "In alarm")
            } else {
                (RGBColor(29, 129, 2), "OK")
            };
            area.draw(&Rectangle::new(
                [(x, y), (x + 4, y + cell_height - 4)],
                colour.filled(),
            ))
            .unwrap();
            write(
                area,
                (x + 10, y + 3),
                name.trim_end_matches("Alarm"),
                11,
                INK,
            );
            write(area, (x + cell_width - 55, y + 3), state, 11, colour);
        }
    }

    fn draw_values(&self, properties: &Value, area: &Area<'_>) {
        let (width, height) = size(area);
        for (at, line) in (0..).zip(lines(properties)) {
            let last = self
                .account
                .cloudwatch
                .statistic(&line.series, &line.statistic, 900)
                .last()
                .copied();
            let (x, y) = (
                12 + at % 4 * (width - 20) / 4,
                34 + at / 4 * (height - 36) / 2,
            );
            let text = last.map_or_else(|| "--".to_owned(), |(_, value)| format!("{value:.0}"));
            write(area, (x, y), &text, 24, INK);
            write(area, (x, y + 34), &line.label, 10, GREY);
        }
    }

    fn draw_lines(&self, properties: &Value, area: &Area<'_>) {
        let period = properties["period"].as_i64().unwrap();
        let cloudwatch = &self.account.cloudwatch;
        let mut drawn = lines(properties);
        if properties["metrics"][0][0]["expression"].is_string() {
            drawn = by_connection(cloudwatch.series());
        }
        let start = self.account.start;
        let points: Vec<Vec<(f64, f64)>> = drawn
            .iter()
            .map(|line| {
                let values = cloudwatch.statistic(&line.series, &line.statistic, period);
                let hours =
                    |at: i64| f64::from(i32::try_from(at - start.as_second()).unwrap()) / 3_600.0;
                values
                    .into_iter()
                    .map(|(at, value)| (hours(at), value))
                    .collect()
            })
            .collect();
        let most = |right: bool| {
            let points = drawn
                .iter()
                .zip(&points)
                .filter(|(line, _)| line.is_on_the_right == right);
            points
                .flat_map(|(_, points)| points)
                .map(|(_, value)| *value)
                .fold(1.0, f64::max)
                * 1.1
        };
        let plot = area.margin(26, 22, 4, 8);
        let has_right = drawn.iter().any(|line| line.is_on_the_right);
        let mut chart = ChartBuilder::on(&plot)
            .x_label_area_size(18)
            .y_label_area_size(38)
            .right_y_label_area_size(if has_right { 38 } else { 0 })
            .build_cartesian_2d(0.0..24.0, 0.0..most(false))
            .unwrap()
            .set_secondary_coord(0.0..24.0, 0.0..most(true));
        let font = ("sans-serif", 10).into_font().color(&GREY);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(FRAME)
            .axis_style(FRAME)
            .label_style(font.clone())
            .x_labels(7)
            .x_label_formatter(&|hour| format!("{hour:02.0}:00"))
            .y_labels(4)
            .y_label_formatter(&|value| shortened(*value))
            .draw()
            .unwrap();
        if has_right {
            chart
                .configure_secondary_axes()
                .axis_style(FRAME)
                .label_style(font)
                .y_labels(4)
                .y_label_formatter(&|value| shortened(*value))
                .draw()
                .unwrap();
        }
        for (line, points) in drawn.iter().zip(points) {
            let dots = points
                .clone()
                .into_iter()
                .map(|point| Circle::new(point, 2, line.colour.filled()));
            let series = LineSeries::new(points.clone(), line.colour.stroke_width(1));
            if line.is_on_the_right {
                chart.draw_secondary_series(series).unwrap();
                chart.draw_secondary_series(dots).unwrap();
            } else {
                chart.draw_series(series).unwrap();
                chart.draw_series(dots).unwrap();
            }
        }
        draw_legend(&drawn, area);
    }

    /// The query of the template, on the same lines: the last one of each connection.
    fn draw_connections(&self, area: &Area<'_>) {
        let lines = self.account.local.metrics.lines();
        let mut last: BTreeMap<String, Value> = BTreeMap::new();
        for line in lines
            .into_iter()
            .filter(|line| !line["SecondsOverdue"].is_null())
        {
            if let Some(incoming) = line["incoming"].as_str() {
                last.insert(name(incoming).to_owned(), line);
            }
        }
        let columns = [
            "incoming",
            "last_completed",
            "seconds_overdue",
            "delta_age",
            "unfinished_run",
            "rescued",
        ];
        let fields = [
            "lastCompleted",
            "SecondsOverdue",
            "DeltaAge",
            "unfinished",
            "rescues",
        ];
        let rows = last.into_iter().map(|(incoming, line)| {
            let cells = fields.map(|field| text(&line[field]));
            [vec![incoming], cells.to_vec()].concat()
        });
        let mut table = vec![columns.map(str::to_owned).to_vec()];
        table.extend(rows);
        draw_table(&table, &[90, 170, 100, 70, 90, 60], area);
    }

    fn draw_failures(&self, area: &Area<'_>) {
        let fields = ["message", "kind", "incoming", "error"];
        let mut table = vec![fields.map(str::to_owned).to_vec()];
        for line in self.failures.iter().rev().take(6) {
            let mut cells = fields.map(|field| text(&line[field])).to_vec();
            let incoming = name(&cells[2]).to_owned();
            cells[2] = incoming;
            table.push(cells);
        }
        draw_table(&table, &[80, 140, 90, 690], area);
    }
}

/// The widget's metrics. Of names in `${...}`, the stack's is known, and of resources the logical name.
fn lines(properties: &Value) -> Vec<Line> {
    let metrics = properties["metrics"].as_array().unwrap();
    let named = metrics.iter().filter(|metric| metric[0].is_string());
    let line = |(at, metric): (usize, &Value)| {
        let metric = metric.as_array().unwrap();
        let (options, place) = metric.split_last().unwrap();
        let place: Vec<String> = place
            .iter()
            .map(|name| logical(name.as_str().unwrap()))
            .collect();
        let text = |option: &str| options[option].as_str().unwrap_or_default().to_owned();
        let colour = options["color"]
            .as_str()
            .unwrap_or(COLOURS[at % COLOURS.len()]);
        Line {
            series: Series {
                namespace: place[0].clone(),
                metric: place[1].clone(),
                dimensions: place[2..]
                    .chunks(2)
                    .map(|pair| (pair[0].clone(), pair[1].clone()))
                    .collect(),
            },
            statistic: text("stat"),
            label: text("label"),
            colour: parse(colour),
            is_on_the_right: options["yAxis"] == "right",
        }
    };
    named.enumerate().map(line).collect()
}

/// What the search for `Records` by `incoming` finds.
fn by_connection<'a>(series: impl Iterator<Item = &'a Series>) -> Vec<Line> {
    let found = series.filter(|series| series.metric == "Records" && !series.dimensions.is_empty());
    let line = |(at, series): (usize, &Series)| Line {
        series: series.clone(),
        statistic: "Sum".to_owned(),
        label: name(&series.dimensions[0].1).to_owned(),
        colour: parse(COLOURS[at % COLOURS.len()]),
        is_on_the_right: false,
    };
    found.enumerate().map(line).collect()
}

fn logical(name: &str) -> String {
    let Some(name) = name
        .strip_prefix("${")
        .and_then(|name| name.strip_suffix('}'))
    else {
        return name.to_owned();
    };
    match name {
        "AWS::StackName" => "stack".to_owned(),
        resource => resource.split('.').next().unwrap_or_default().to_owned(),
    }
}

/// A connection's name without the prefix that makes it the run's own.
fn name(incoming: &str) -> &str {
    incoming.rsplit('-').next().unwrap_or_default()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn parse(colour: &str) -> RGBColor {
    let part = |at: usize| u8::from_str_radix(&colour[at..at + 2], 16).unwrap();
    RGBColor(part(1), part(3), part(5))
}

fn shortened(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{value:.1}"),
    }
}

fn size(area: &Area<'_>) -> (i32, i32) {
    let (width, height) = area.dim_in_pixel();
    (
        i32::try_from(width).unwrap(),
        i32::try_from(height).unwrap(),
    )
}

fn write(area: &Area<'_>, at: (i32, i32), text: &str, size: i32, colour: RGBColor) {
    let style = ("sans-serif", size).into_font().color(&colour);
    area.draw(&Text::new(text.to_owned(), at, style)).unwrap();
}

fn draw_legend(lines: &[Line], area: &Area<'_>) {
    let (_, height) = size(area);
    let mut x = 12;
    for line in lines {
        let y = height - 16;
        area.draw(&Rectangle::new(
            [(x, y + 2), (x + 8, y + 10)],
            line.colour.filled(),
        ))
        .unwrap();
        write(area, (x + 12, y), &line.label, 10, GREY);
        x += 24 + i32::try_from(line.label.len()).unwrap() * 5;
    }
}

fn draw_table(rows: &[Vec<String>], widths: &[i32], area: &Area<'_>) {
    for (number, row) in (0..).zip(rows) {
        let (mut x, y) = (12, 32 + number * 22);
        let colour = if number == 0 { GREY } else { INK };
        for (cell, width) in row.iter().zip(widths) {
            let fits = usize::try_from(width / 5).unwrap();
            let cell: String = cell.chars().take(fits).collect();
            write(area, (x, y), &cell, 10, colour);
            x += width;
        }
    }
}

/// As much of Markdown as the dashboard uses: headings, paragraphs and a table.
fn draw_markdown(markdown: &str, area: &Area<'_>) {
    let mut y = 4;
    for line in markdown
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("|---"))
    {
        let (text, size) = match line.split_once(' ') {
            Some(("#", text)) => (text, 20),
            Some(("##", text)) => (text, 16),
            _ => (line, 11),
        };
        let text = text
            .replace('`', "")
            .replace("${AWS::StackName}", "protime");
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        for (x, cell) in [6, 190].into_iter().zip(cells) {
            write(area, (x, y), cell, size, INK);
        }
        y += size + 8;
    }
}
