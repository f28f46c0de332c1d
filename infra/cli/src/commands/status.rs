//! `status`: connections and queues on one screen.

mod overview;

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use self::overview::{Overview, StatusRow, look, needs_attention};
use crate::arguments::{StackArguments, Status};
use crate::error::{Code, Error};
use crate::output::{BAD, FAINT, GOOD, HEADING, Report, WARNING, styled, table};
use crate::stack::Stack;
use crate::wording::{counted, relative};

/// How often `--watch` refreshes.
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) async fn status(arguments: &Status, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    loop {
        let report = look(&stack).await?.report();
        if !arguments.watch {
            let code = if arguments.fail {
                report.code
            } else {
                Code::Ok
            };
            return Ok(report.with_code(code));
        }
        // This clears a terminal. In other outputs, one report follows the other.
        anstream::print!("\x1b[2J\x1b[H{}", report.text);
        tokio::time::sleep(AGAIN).await;
    }
}

impl Overview {
    fn report(&self) -> Report {
        let code = if self.is_healthy() {
            Code::Ok
        } else {
            Code::Unhealthy
        };
        Report::new(self.json(), self.text()).with_code(code)
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", styled(HEADING, format!("Stack {}", self.stack)));
        let time = |time: Option<Timestamp>| {
            time.map_or_else(|| "-".to_owned(), |time| relative(time, self.now))
        };
        let rows = self.connections.iter().map(|told| {
            [
                told.name.clone(),
                styled(told.standing.tone().style(), told.standing.word()),
                time(told.last),
                time(told.next),
                told.note.clone(),
            ]
        });
        text += &table(["connection", "status", "completed", "next run", ""], rows);
        for error in &self.unreadable {
            let _ = writeln!(text, "{} {error}", styled(BAD, "unreadable"));
        }
        let publishing = match &self.pause {
            None => styled(GOOD, "on"),
            Some(pause) => styled(WARNING, pause),
        };
        let _ = writeln!(text, "\npublishing: {publishing}\n");
        let rows = self.queues.iter().map(|(name, count)| {
            let style = match (*count, needs_attention(name)) {
                (0, _) => FAINT,
                (_, true) => BAD,
                (_, false) => GOOD,
            };
            [name.clone(), styled(style, counted(*count, "message"))]
        });
        text + &table(["queue", "holds"], rows)
    }

    fn json(&self) -> Value {
        let connections = self.connections.iter().map(|told| {
            json!({
                "incoming": told.name, "stands": told.standing.word(), "lastCompleted": told.last, "nextRun": told.next,
                "note": told.note,
            })
        });
        let queues = self.queues.iter();
        let queues: serde_json::Map<String, Value> = queues
            .map(|(name, count)| (name.clone(), (*count).into()))
            .collect();
        json!({
            "stack": self.stack, "healthy": self.is_healthy(), "connections": connections.collect::<Value>(), "queues": queues,
            "publishingPausedUntil": self.pause.as_ref().map(|pause| pause.until), "unreadable": self.unreadable,
        })
    }
}
