//! `failed`: lists runs that failed for good, or starts them again.

use std::fmt::Write as _;

use indicatif::ProgressBar;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::arguments::{Change, Failed, FailedAction, StackArguments};
use crate::confirm::confirm;
use crate::error::Error;
use crate::excerpt::excerpt;
use crate::output::{Report, hint, table};
use crate::pass::{self, MessageHandler, Tally};
use crate::queue::{Message, Queue};
use crate::stack::Stack;
use crate::wording::{counted, relative};

const LONGEST_ERROR: usize = 100;
/// The placeholder that the scheduler replaces with the time.
const SCHEDULED_TIME: &str = "<aws.scheduler.scheduled-time>";

/// The dead-letter queues that hold failed runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Lambda's records of events that failed three times.
    Failures,
    /// Events that the scheduler could not hand to Lambda.
    Schedules,
    Continuations,
}

impl Place {
    const ALL: [Self; 3] = [Self::Failures, Self::Schedules, Self::Continuations];

    /// The logical id in the template.
    fn queue(self) -> &'static str {
        match self {
            Self::Failures => "SubscriberFailureQueue",
            Self::Schedules => "ScheduleDeadLetterQueue",
            Self::Continuations => "ContinuationDeadLetterQueue",
        }
    }
}

/// A failed run, read from a message of one of the queues.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FailedRun {
    queue: &'static str,
    id: String,
    at: Timestamp,
    incoming: String,
    run: String,
    error: String,
    can_be_started_again: bool,
    /// The event that starts it again. `None` if that is not possible.
    #[serde(skip)]
    event: Option<String>,
}

/// Lambda's record of an event that failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    request_payload: Option<&'a RawValue>,
    #[serde(default)]
    response_payload: Value,
    #[serde(default)]
    request_context: Value,
    #[serde(default)]
    timestamp: Value,
}

impl FailedRun {
    fn of(place: Place, message: &Message) -> Self {
        let (event, at, error) = match place {
            Place::Failures => recorded(message),
            Place::Schedules => (scheduled(message), message.sent, why_not_handed(message)),
            Place::Continuations => {
                let error = "failed five times; the log says why, as `run failed`";
                (Some(message.body.clone()), message.sent, error.to_owned())
            }
        };
        let read = event.as_deref().map(serde_json::from_str::<Value>);
        let read = read.and_then(Result::ok).filter(Value::is_object);
        let (incoming, run) = read.as_ref().map(named).unwrap_or_default();
        Self {
            queue: place.queue(),
            id: message.id.clone(),
            at,
            incoming,
            run,
            error,
            can_be_started_again: read.is_some(),
            event: event.filter(|_| read.is_some()),
        }
    }

    fn row(&self, now: Timestamp) -> [String; 5] {
        let error = if self.can_be_started_again {
            self.error.clone()
        } else {
            format!("cannot be started again from here: {}", self.error)
        };
        [
            self.queue.to_owned(),
            relative(self.at, now),
            excerpt(&self.incoming, LONGEST_ERROR),
            excerpt(&self.run, LONGEST_ERROR),
            excerpt(&error, LONGEST_ERROR),
        ]
    }
}

/// From Lambda's record: the original event, the time when it was given up, and the reason.
fn recorded(message: &Message) -> (Option<String>, Timestamp, String) {
    let Ok(record) = serde_json::from_str::<Record<'_>>(&message.body) else {
        let error = "the message is not a failure record of Lambda".to_owned();
        return (None, message.sent, error);
    };
    let at = record.timestamp.as_str().and_then(|at| at.parse().ok());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = text(&record.response_payload["errorType"]);
    let reason = text(&record.response_payload["errorMessage"]);
    let error = match (kind, reason) {
        (Some(kind), Some(reason)) => format!("{kind}: {reason}"),
        (Some(error), None) | (None, Some(error)) => error,
        (None, None) => text(&record.request_context["condition"]).unwrap_or_default(),
    };
    let event = record.request_payload.map(|event| event.get().to_owned());
    (event, at.unwrap_or(message.sent), error)
}

/// The event of a schedule, with its time filled in. `None` if the event was cut off.
fn scheduled(message: &Message) -> Option<String> {
    if message.attribute("IS_PAYLOAD_TRUNCATED") == Some("true") {
        return None;
    }
    let time = message.attribute("SCHEDULED_TIME").unwrap_or_default();
    Some(match time.parse::<Timestamp>() {
        Ok(time) => message.body.replace(SCHEDULED_TIME, &time.to_string()),
        Err(_) => message.body.clone(),
    })
}

fn why_not_handed(message: &Message) -> String {
    let said = ["ERROR_CODE", "ERROR_MESSAGE"];
    let said: Vec<&str> = said
        .iter()
        .filter_map(|name| message.attribute(name))
        .collect();
    said.join(": ")
}

/// The connection, and the run or the scheduled time, that an event or a continuation names.
fn named(event: &Value) -> (String, String) {
    if event["watch"] == true {
        return ("(the watch)".to_owned(), String::new());
    }
    let text = |name: &str| event[name].as_str().map(str::to_owned);
    let run = text("run").or_else(|| text("scheduled"));
    (
        text("incoming").unwrap_or_else(|| "?".to_owned()),
        run.unwrap_or_default(),
    )
}

pub(crate) async fn failed(arguments: &Failed, stack: &StackArguments) -> Result<Report, Error> {
    let stack = Stack::open(stack).await?;
    match &arguments.action {
        None | Some(FailedAction::List) => list(&stack).await,
        Some(FailedAction::Retry { change }) => retry(&stack, change).await,
    }
}

fn queue(stack: &Stack, logical: &str) -> Result<Queue, Error> {
    Ok(Queue::new(stack.account.sqs(), stack.id(logical)?))
}

async fn look(stack: &Stack) -> Result<Vec<FailedRun>, Error> {
    let mut failed = Vec::new();
    for place in Place::ALL {
        let queue = queue(stack, place.queue())?;
        pass::look(&queue, |message| failed.push(FailedRun::of(place, message))).await?;
    }
    failed.sort_by_key(|run| run.at);
    Ok(failed)
}

async fn list(stack: &Stack) -> Result<Report, Error> {
    let failed = look(stack).await?;
    let now = Timestamp::now();
    let text = if failed.is_empty() {
        "Nothing has failed for good.\n".to_owned()
    } else {
        hint("protimectl failed retry starts them again.");
        let head = ["queue", "when", "incoming", "run", "error"];
        table(head, failed.iter().map(|run| run.row(now)))
    };
    Ok(Report::new(json!({"failed": failed}), text))
}

/// Starts those failed runs again that can be.
struct Retry<'a> {
    stack: &'a Stack,
    continuations: &'a Queue,
    place: Place,
    bar: &'a ProgressBar,
}

impl MessageHandler for Retry<'_> {
    fn wants(&mut self, message: &Message) -> bool {
        FailedRun::of(self.place, message).can_be_started_again
    }

    async fn take(&mut self, message: &Message) -> Result<(), Error> {
        if self.place == Place::Continuations {
            let attributes = message.attributes.clone();
            self.continuations.send(message, attributes).await?;
        } else if let Some(event) = FailedRun::of(self.place, message).event {
            self.stack.start(event).await?;
        }
        self.bar.inc(1);
        Ok(())
    }
}

/// The event keeps its `scheduled`, so that it continues the same run. If it is accepted twice, it is still one run.
async fn retry(stack: &Stack, change: &Change) -> Result<Report, Error> {
    let start = Timestamp::now();
    let failed = look(stack).await?;
    let known = failed.iter().filter(|run| run.can_be_started_again).count();
    let others = failed.len() - known;
    if known == 0 {
        let text = format!("Nothing can be started again; {others} left.\n");
        return Ok(Report::new(json!({"done": false, "left": others}), text));
    }
    let what = format!("start {} again", counted(known as u64, "failed run"));
    if !confirm(change, &what)? {
        let json = json!({"done": false, "fitting": known, "others": others});
        return Ok(Report::new(json, ""));
    }
    let continuations = queue(stack, "ContinuationQueue")?;
    let bar = ProgressBar::new(known as u64);
    let mut total = Tally::default();
    for place in Place::ALL {
        let taker = Retry {
            stack,
            continuations: &continuations,
            place,
            bar: &bar,
        };
        let (tally, result) = pass::take(&queue(stack, place.queue())?, start, taker).await;
        total += tally;
        result.inspect_err(|_| {
            if total.taken > 0 {
                anstream::eprintln!("{} started before this:", total.taken);
            }
        })?;
    }
    bar.finish_and_clear();
    let mut text = format!("{} started again, {} left.\n", total.taken, total.left);
    let _ = writeln!(text, "`protimectl runs` shows how they go.");
    let json = json!({"done": true, "started": total.taken, "left": total.left});
    Ok(Report::new(json, text))
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::types::MessageAttributeValue;

    use super::*;

    fn message(attributes: &[(&str, &str)], body: &str) -> Message {
        let mut received = aws_sdk_sqs::types::Message::builder();
        for (name, value) in attributes {
            let text = MessageAttributeValue::builder().data_type("String");
            let text = text.string_value(*value).build().unwrap();
            received = received.message_attributes(*name, text);
        }
        Message::of(received.body(body).build())
    }

    #[test]
    fn the_event_of_a_record_is_taken_as_it_was() {
        let body = r#"{"requestPayload": {"incoming": "a",  "scheduled": "2026-11-23T02:00:00Z"},
            "requestContext": {"condition": "RetriesExhausted"}, "timestamp": "2026-11-23T03:00:00Z"}"#;
        let run = FailedRun::of(Place::Failures, &message(&[], body));
        let event = r#"{"incoming": "a",  "scheduled": "2026-11-23T02:00:00Z"}"#;
        assert_eq!(run.event.as_deref(), Some(event));
        assert_eq!(
            (run.incoming.as_str(), run.error.as_str()),
            ("a", "RetriesExhausted")
        );
    }

    #[test]
    fn a_schedule_gets_its_time_and_is_left_alone_if_cut_off() {
        let body = r#"{"incoming": "a", "scheduled": "<aws.scheduler.scheduled-time>"}"#;
        let time = ("SCHEDULED_TIME", "2026-11-23T02:00:00Z");
        let run = FailedRun::of(Place::Schedules, &message(&[time], body));
        assert_eq!(run.run, "2026-11-23T02:00:00Z");
        let cut = [time, ("IS_PAYLOAD_TRUNCATED", "true")];
        let run = FailedRun::of(Place::Schedules, &message(&cut, body));
        assert!(!run.can_be_started_again && run.event.is_none());
    }
}
