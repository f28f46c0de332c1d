//! Small bar charts over time, drawn as SVG.

use connector::store::RunRecord;
use jiff::{SignedDuration, Timestamp};

use crate::commands::runs::took;
use crate::wording::{counted, duration, relative};

/// The number of bars, each of which covers an equal span of time.
const BARS: u16 = 30;
/// The width of a bar, in units of the drawing.
const BAR: u16 = 10;
const GAP: u16 = 2;
const HEIGHT: u64 = 60;
/// The lowest bar for a value above zero, so that it can be seen.
const LOWEST: u64 = 2;

/// The spans that a chart may cover, in hours. The shortest one that holds all points is used.
const SPANS: [(i64, &str); 5] = [
    (1, "hour"),
    (6, "6 hours"),
    (24, "24 hours"),
    (7 * 24, "7 days"),
    (30 * 24, "30 days"),
];

/// A chart, ready to be drawn.
pub(super) struct Chart {
    pub(super) name: &'static str,
    /// The whole content in words.
    pub(super) summary: String,
    pub(super) bars: Vec<Bar>,
    pub(super) width: u16,
    pub(super) height: u64,
    pub(super) bar_width: u16,
}

/// A bar, in units of the drawing. The origin is the upper left corner.
pub(super) struct Bar {
    pub(super) x: u16,
    pub(super) y: u64,
    pub(super) height: u64,
    /// The bar's time and value, in words.
    pub(super) label: String,
}

/// A value at a time.
type Point = (Timestamp, u64);

/// How the points of one bar are combined, and how the result is worded.
#[derive(Clone, Copy)]
enum Measure {
    Sum(&'static str),
    /// The largest value, in milliseconds.
    Longest,
}

impl Measure {
    fn text(self, value: u64) -> String {
        match self {
            Self::Sum(what) => counted(value, what),
            Self::Longest if value < 2_000 => format!("{value} ms"),
            Self::Longest => duration(SignedDuration::from_millis(
                i64::try_from(value).unwrap_or(i64::MAX),
            )),
        }
    }

    fn joined(self, one: u64, other: u64) -> u64 {
        match self {
            Self::Sum(_) => one.saturating_add(other),
            Self::Longest => one.max(other),
        }
    }
}

/// Three charts over the same time: records of the runs, durations of the runs, and parking times of the parked
/// messages.
pub(super) fn charts<'a>(
    runs: impl Iterator<Item = &'a RunRecord>,
    parked: Option<&[Timestamp]>,
    now: Timestamp,
) -> Vec<Chart> {
    let (mut records, mut durations) = (Vec::new(), Vec::new());
    for run in runs {
        let ended = run.ended.unwrap_or(run.started);
        records.push((ended, run.counts.records));
        if let Some(took) = took(run) {
            durations.push((ended, u64::try_from(took.as_millis()).unwrap_or(0)));
        }
    }
    let parked_points: Vec<Point> = parked
        .into_iter()
        .flatten()
        .map(|time| (*time, 1))
        .collect();
    let times = records.iter().chain(&parked_points).map(|(time, _)| *time);
    let span = span(times.min().unwrap_or(now), now);
    let mut charts = vec![
        Chart::new("Records", Measure::Sum("record"), &records, span, now),
        Chart::new("Longest run", Measure::Longest, &durations, span, now),
    ];
    if parked.is_some() {
        let measure = Measure::Sum("parked message");
        charts.push(Chart::new("Parked", measure, &parked_points, span, now));
    }
    charts
}

fn span(first: Timestamp, now: Timestamp) -> (i64, &'static str) {
    let hours = now.duration_since(first).as_hours();
    let holds_all = SPANS.iter().find(|(most, _)| hours < *most);
    *holds_all.unwrap_or(&SPANS[SPANS.len() - 1])
}

impl Chart {
    fn new(
        name: &'static str,
        measure: Measure,
        points: &[Point],
        (hours, words): (i64, &str),
        now: Timestamp,
    ) -> Self {
        let bars = i64::from(BARS);
        let seconds = hours * 3_600 / bars;
        let mut values = [0; BARS as usize];
        let mut total = 0;
        for (time, value) in points {
            let ago = now.duration_since(*time).as_secs().max(0) / seconds;
            let place = usize::try_from(bars - 1 - ago).ok();
            if let Some(held) = place.and_then(|place| values.get_mut(place)) {
                *held = measure.joined(*held, *value);
                total = measure.joined(total, *value);
            }
        }
        let highest = values.iter().copied().max().unwrap_or(0).max(1);
        let drawn = (0..BARS).zip(values).filter(|(_, value)| *value > 0);
        let drawn = drawn.map(|(place, value)| {
            let height = (value.saturating_mul(HEIGHT) / highest).max(LOWEST);
            let end = now - SignedDuration::from_secs((bars - 1 - i64::from(place)) * seconds);
            Bar {
                x: place * BAR,
                y: HEIGHT - height,
                height,
                label: format!("{}, {}", measure.text(value), relative(end, now)),
            }
        });
        Self {
            name,
            summary: format!("{} in the last {words}", measure.text(total)),
            bars: drawn.collect(),
            width: BARS * BAR,
            height: HEIGHT,
            bar_width: BAR - GAP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-26T12:00:00Z".parse().unwrap()
    }

    fn ago(minutes: i64) -> Timestamp {
        now() - SignedDuration::from_mins(minutes)
    }

    #[test]
    fn what_happens_in_one_span_is_one_bar() {
        let points = [(ago(1), 3), (ago(1), 4), (ago(59), 14)];
        let chart = Chart::new("Records", Measure::Sum("record"), &points, SPANS[0], now());
        assert_eq!(chart.summary, "21 records in the last hour");
        let bars: Vec<_> = chart.bars.iter().map(|bar| (bar.x, bar.height)).collect();
        assert_eq!(bars, [(0, 60), (290, 30)]);
        assert_eq!(chart.bars[1].label, "7 records, 0 s ago");
    }

    #[test]
    fn the_longest_of_a_span_counts() {
        let points = [(ago(0), 1_500), (ago(0), 90_000)];
        let chart = Chart::new("Longest run", Measure::Longest, &points, SPANS[0], now());
        assert_eq!(chart.summary, "90 s in the last hour");
    }

    #[test]
    fn everything_lies_in_the_span_up_to_a_month() {
        assert_eq!(span(ago(59), now()), SPANS[0]);
        assert_eq!(span(ago(60), now()), SPANS[1]);
        assert_eq!(span(ago(2 * 24 * 60), now()), SPANS[3]);
        assert_eq!(span(ago(900 * 24 * 60), now()), SPANS[4]);
        let old = [(ago(900 * 24 * 60), 7)];
        let chart = Chart::new("Records", Measure::Sum("record"), &old, SPANS[4], now());
        assert!(chart.bars.is_empty());
    }
}
