//! Writes the figures as Markdown tables, aligned so that they are readable as text.

use std::fmt;
use std::time::Duration;

use crate::process::Usage;

/// A table of the results.
pub(crate) struct Table {
    title: String,
    /// What was measured and how, above the table.
    note: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: &str, note: impl Into<String>, header: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            note: note.into(),
            rows: vec![header.iter().map(|cell| (*cell).to_owned()).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n", self.title, self.note)?;
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell: &String| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if index == 0 {
                for (column, width) in widths.iter().enumerate() {
                    match column {
                        0 => write!(f, "|{}|", "-".repeat(width + 2))?,
                        _ => write!(f, "{}:|", "-".repeat(width + 1))?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// A figure that the project promises.
pub(crate) struct Target {
    figure: &'static str,
    promised: Promise,
    measured: f64,
    /// Why the promise cannot be kept, and what was tried.
    obstacle: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub(crate) enum Promise {
    /// The figure is at least this many times better.
    AtLeastTimes(f64),
    /// The figure is at most this many times higher.
    AtMostTimes(f64),
    Under(f64, &'static str),
}

impl Target {
    pub(crate) fn new(figure: &'static str, promised: Promise, measured: f64) -> Self {
        Self {
            figure,
            promised,
            measured,
            obstacle: None,
        }
    }

    /// Explains a promise that cannot be kept.
    pub(crate) fn because(self, obstacle: &'static str) -> Self {
        Self {
            obstacle: Some(obstacle),
            ..self
        }
    }

    fn reached(&self) -> bool {
        match self.promised {
            Promise::AtLeastTimes(times) => self.measured >= times,
            Promise::AtMostTimes(times) => self.measured <= times,
            Promise::Under(limit, _) => self.measured < limit,
        }
    }

    /// The explanation, if the promise is not kept.
    pub(crate) fn excuse(&self) -> Option<String> {
        let obstacle = self.obstacle.filter(|_| !self.reached())?;
        Some(format!("**{}**: {obstacle}\n", self.figure))
    }

    pub(crate) fn cells(&self) -> [String; 4] {
        let measured = self.measured;
        let (promised, measured) = match self.promised {
            Promise::AtLeastTimes(times) => {
                (format!("at least {times}x"), format!("{measured:.1}x"))
            }
            Promise::AtMostTimes(times) => (format!("at most {times}x"), format!("{measured:.2}x")),
            Promise::Under(limit, unit) => (
                format!("under {limit} {unit}"),
                format!("{measured:.1} {unit}"),
            ),
        };
        let reached = if self.reached() { "yes" } else { "NO" };
        [
            self.figure.to_owned(),
            promised,
            measured,
            reached.to_owned(),
        ]
    }
}

/// The median of some figures.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match figures.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => figures[count / 2],
        count => f64::midpoint(figures[count / 2 - 1], figures[count / 2]),
    }
}

/// The medians of a program's usage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Medians {
    /// Elapsed time, in seconds.
    pub(crate) wall: f64,
    /// Processor time, in seconds.
    pub(crate) cpu: f64,
    /// Peak memory, in MiB.
    pub(crate) peak: f64,
}

impl Medians {
    pub(crate) fn of(usages: &[Usage]) -> Self {
        let by = |figure: fn(&Usage) -> f64| median(usages.iter().map(figure));
        Self {
            wall: by(|usage| usage.wall.as_secs_f64()),
            cpu: by(|usage| usage.cpu.as_secs_f64()),
            peak: by(|usage| mebibytes(usage.peak)),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures are shown with few digits"
)]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn seconds(figure: f64) -> String {
    format!("{figure:.3} s")
}

pub(crate) fn times(figure: f64) -> String {
    format!("{figure:.1}x")
}

/// The rounded figure with a separator between thousands.
pub(crate) fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
