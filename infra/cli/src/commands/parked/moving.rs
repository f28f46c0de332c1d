//! `parked redrive` and `parked skip`: messages leave the dead-letter queue once they are safe elsewhere.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::dead_letter::{self, DeadLetter};
use super::outgoing::Outgoing;
use crate::arguments::{Change, ParkedFilter};
use crate::confirm::confirm;
use crate::error::Error;
use crate::output::Report;
use crate::pass::{self, MessageHandler, Tally};
use crate::queue::{Message, Queue};
use crate::wording::counted;

/// The counts before a change: the messages that fit, the others, and those that could not be seen.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    fitting: usize,
    others: usize,
    unseen: usize,
}

impl Plan {
    pub(crate) async fn of(outgoing: &[Outgoing], chosen: &ParkedFilter) -> Result<Self, Error> {
        let mut plan = Self::default();
        for outgoing in outgoing {
            plan.unseen += pass::look(&outgoing.parked, |message| {
                if chosen.fits(&DeadLetter::of(message)) {
                    plan.fitting += 1;
                } else {
                    plan.others += 1;
                }
            })
            .await?;
        }
        Ok(plan)
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.fitting == 0 && self.unseen == 0
    }

    /// Such as `send 13 parked messages back to the publish queue`.
    pub(crate) fn to_send_back(&self) -> String {
        self.phrase("send", "back to the publish queue")
    }

    /// Such as `write 1 parked message to gone.jsonl and delete them from their queue`.
    pub(crate) fn to_move_to_file(&self, to: &Path) -> String {
        let rest = format!("to {} and delete them from their queue", to.display());
        self.phrase("write", &rest)
    }

    fn phrase(&self, verb: &str, rest: &str) -> String {
        let fitting = counted(self.fitting as u64, "parked message");
        let mut phrase = format!("{verb} {fitting} {rest}");
        if self.unseen > 0 {
            let _ = write!(
                phrase,
                "; about {} more messages are hidden by others of their groups. To reach them, those go to the end of their groups",
                self.unseen
            );
        }
        phrase
    }

    fn bar(&self) -> ProgressBar {
        if self.unseen > 0 {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::new(self.fitting as u64)
        }
    }

    fn undone(&self) -> Report {
        let Self {
            fitting,
            others,
            unseen,
        } = self;
        let text = if self.is_nothing() {
            format!("No message matches; {others} left.\n")
        } else {
            String::new()
        };
        let json = json!({"done": false, "fitting": fitting, "others": others, "unseen": unseen});
        Report::new(json, text)
    }
}

/// What makes two messages one write.
fn write(message: &Message) -> (String, String) {
    (dead_letter::key(message).to_owned(), message.body.clone())
}

/// Sends fitting messages back to the publish queue, each with its key.
struct Redrive<'a> {
    chosen: &'a ParkedFilter,
    publish: &'a Queue,
    /// Key and body of what was sent. It is not sent again: the message may be parked again, and clocks may differ. Two
    /// messages with one key and body are one write, and the second waits for the outcome of the first.
    sent: HashSet<(String, String)>,
    bar: &'a ProgressBar,
}

impl MessageHandler for Redrive<'_> {
    fn wants(&mut self, message: &Message) -> bool {
        self.chosen.fits(&DeadLetter::of(message)) && !self.sent.contains(&write(message))
    }

    async fn take(&mut self, message: &Message) -> Result<(), Error> {
        let attributes = dead_letter::own_attributes(message);
        let attributes = attributes.map_err(|error| Error::Other(error.to_string()))?;
        self.publish.send(message, attributes).await?;
        self.sent.insert(write(message));
        self.bar.inc(1);
        Ok(())
    }
}

pub(super) async fn redrive(
    outgoing: &[Outgoing],
    chosen: &ParkedFilter,
    change: &Change,
) -> Result<Report, Error> {
    let start = Timestamp::now();
    let plan = Plan::of(outgoing, chosen).await?;
    if plan.is_nothing() || !confirm(change, &plan.to_send_back())? {
        return Ok(plan.undone());
    }
    let bar = plan.bar();
    let moved = send_back(outgoing, chosen, start, &bar).await;
    let total = moved.or_report("sent back")?;
    bar.finish_and_clear();
    let text = format!(
        "{} sent back to the publish queue, {} left.\n",
        total.taken, total.left
    );
    let json = json!({"done": true, "sent": total.taken});
    Ok(done(total, json, text))
}

/// The number of messages that were moved, and how the work ended.
pub(crate) struct Moved {
    pub(crate) total: Tally,
    pub(crate) result: Result<(), Error>,
}

impl Moved {
    fn or_report(self, what: &str) -> Result<Tally, Error> {
        self.result
            .inspect_err(|_| before_failure(self.total, what))?;
        Ok(self.total)
    }
}

/// Sends the fitting messages that were parked before `start` back to the publish queue.
pub(crate) async fn send_back(
    outgoing: &[Outgoing],
    chosen: &ParkedFilter,
    start: Timestamp,
    bar: &ProgressBar,
) -> Moved {
    let mut total = Tally::default();
    for outgoing in outgoing {
        let taker = Redrive {
            chosen,
            publish: &outgoing.publish,
            sent: HashSet::new(),
            bar,
        };
        let (tally, result) = pass::take(&outgoing.parked, start, taker).await;
        total += tally;
        if result.is_err() {
            return Moved { total, result };
        }
    }
    Moved {
        total,
        result: Ok(()),
    }
}

/// Writes fitting messages to a file.
struct Skip<'a> {
    chosen: &'a ParkedFilter,
    queue: &'a str,
    file: &'a mut NewFile,
    bar: &'a ProgressBar,
}

/// A file that must not exist yet. It is created with its first line.
pub(crate) struct NewFile {
    path: PathBuf,
    file: Option<File>,
}

impl MessageHandler for Skip<'_> {
    fn wants(&mut self, message: &Message) -> bool {
        self.chosen.fits(&DeadLetter::of(message))
    }

    async fn take(&mut self, message: &Message) -> Result<(), Error> {
        let mut line = message.json();
        line["queue"] = self.queue.into();
        line["idempotencyKey"] = dead_letter::key(message).into();
        self.file.add(&line).map_err(|error| {
            let path = self.file.path.display();
            Error::Other(format!("{path}: {error}"))
        })?;
        self.bar.inc(1);
        Ok(())
    }
}

impl NewFile {
    pub(crate) fn new(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            let message = format!("{} exists; name a new file", path.display());
            return Err(Error::Usage(message));
        }
        Ok(Self {
            path: path.to_owned(),
            file: None,
        })
    }

    /// Appends a line. The line is on disk when this returns.
    fn add(&mut self, line: &Value) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.path)?),
        };
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    }
}

/// Creates the file with access for its owner only: bodies hold personal data.
fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

pub(super) async fn skip(
    outgoing: &[Outgoing],
    chosen: &ParkedFilter,
    to: &Path,
    change: &Change,
) -> Result<Report, Error> {
    let file = NewFile::new(to)?;
    let start = Timestamp::now();
    let plan = Plan::of(outgoing, chosen).await?;
    if plan.is_nothing() || !confirm(change, &plan.to_move_to_file(to))? {
        return Ok(plan.undone());
    }
    let bar = plan.bar();
    let moved = move_to_file(outgoing, chosen, file, start, &bar).await;
    let total = moved.or_report("written and deleted")?;
    bar.finish_and_clear();
    let to = to.display().to_string();
    let text = format!("{} written to {to}, {} left.\n", total.taken, total.left);
    let json = json!({"done": true, "skipped": total.taken, "file": to});
    Ok(done(total, json, text))
}

/// Writes the fitting messages that were parked before `start` to the file, and deletes them.
pub(crate) async fn move_to_file(
    outgoing: &[Outgoing],
    chosen: &ParkedFilter,
    mut file: NewFile,
    start: Timestamp,
    bar: &ProgressBar,
) -> Moved {
    let mut total = Tally::default();
    for outgoing in outgoing {
        let taker = Skip {
            chosen,
            queue: outgoing.parked.name(),
            file: &mut file,
            bar,
        };
        let (tally, result) = pass::take(&outgoing.parked, start, taker).await;
        total += tally;
        if result.is_err() {
            return Moved { total, result };
        }
    }
    Moved {
        total,
        result: Ok(()),
    }
}

fn before_failure(tally: Tally, what: &str) {
    if tally.taken > 0 {
        anstream::eprintln!("{} {what} before this:", tally.taken);
    }
    if tally.put_behind > 0 {
        anstream::eprintln!("Repeat the command: it restores the order of some groups.");
    }
}

fn done(tally: Tally, mut json: Value, mut text: String) -> Report {
    json["left"] = tally.left.into();
    json["putBehind"] = tally.put_behind.into();
    json["complete"] = (!tally.is_incomplete).into();
    if tally.is_incomplete {
        text += "The pass did not reach all messages in time; repeat the command.\n";
    }
    if tally.put_behind > 0 {
        let _ = writeln!(
            text,
            "{} of the messages that stay went to the end of their groups, in their order, to reach those behind them.",
            tally.put_behind
        );
    }
    Report::new(json, text)
}
