//! The history: the last runs of a connection.

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::counts::Counts;
use super::item::{Item, number, number_of, refused_item, string_of, text};
use super::{Lease, StateError, StateTable, StoredText, VERSION, history_id};

/// How many runs of each sort are kept: completed ones that a schedule started, other completed ones, and the rest.
const KEPT: usize = 20;
/// A connection is overdue after 125 % of the longest gap in its schedule, plus an hour.
const GAP_PERCENT: i32 = 125;
const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// The last runs of a connection, and when it is overdue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When the connection first ran. None if it never did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// The limit from the connection's event: overdue after this long without a completed run. None: its schedule
    /// decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh: Option<SignedDuration>,
    /// The event of the last run that a schedule started, without `run`, `scheduled` and `takeover`. A ring runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<StoredText>,
    /// The last runs, in the order in which they began.
    pub runs: Vec<RunRecord>,
    /// The item's revision when it was read. It guards against concurrent writes.
    #[serde(skip)]
    revision: i64,
}

/// One run in the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The run's id, which begins the id of each message.
    pub run: String,
    /// Fingerprint of the run's connection.
    pub fingerprint: String,
    /// When the run was due. None if a person started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Timestamp>,
    /// When the run began.
    pub started: Timestamp,
    /// When an invocation last completed or failed the run. None before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The run's last known status.
    pub status: RunStatus,
    /// Totals of the run so far.
    pub counts: Counts,
    /// Why the run last failed. None if it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// The status of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// The run has begun. Nothing more is known.
    Started,
    /// The queue holds all its pages.
    Completed,
    /// Its last invocation failed.
    Failed,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of the error, as a stable word.
    pub kind: String,
    /// The error's message; the subscriber cuts it to 1,000 characters.
    pub message: String,
}

/// A new run pushes out old runs of its own sort only. So any number of rings leaves the scheduled runs, which tell
/// whether a connection is overdue. Any number of failures leaves the completed runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Scheduled,
    Completed,
    Other,
}

impl Sort {
    fn of(run: &RunRecord) -> Self {
        match (run.status, run.scheduled) {
            (RunStatus::Completed, Some(_)) => Self::Scheduled,
            (RunStatus::Completed, None) => Self::Completed,
            (RunStatus::Started | RunStatus::Failed, _) => Self::Other,
        }
    }
}

impl History {
    /// Adds a run, or replaces what was known of it.
    pub fn record(&mut self, record: RunRecord) {
        self.first_seen.get_or_insert(record.started);
        match self.runs.iter_mut().find(|run| run.run == record.run) {
            // A completed run stays completed, even if its event comes again and fails.
            Some(run)
                if run.status == RunStatus::Completed && record.status == RunStatus::Failed => {}
            Some(run) => *run = record,
            None => self.runs.push(record),
        }
        for sort in [Sort::Scheduled, Sort::Completed, Sort::Other] {
            let is_kind = |run: &RunRecord| Sort::of(run) == sort;
            let mut surplus = self
                .runs
                .iter()
                .filter(|run| is_kind(run))
                .count()
                .saturating_sub(KEPT);
            self.runs.retain(|run| {
                let drop = surplus > 0 && is_kind(run);
                surplus -= usize::from(drop);
                !drop
            });
        }
    }

    /// The record of a run. None if it is unknown, or too old to be kept.
    pub fn run(&self, run: &str) -> Option<&RunRecord> {
        self.runs.iter().find(|record| record.run == run)
    }

    /// When a run last completed. None if no completed run is known.
    pub fn last_completed(&self) -> Option<Timestamp> {
        let completed = self
            .runs
            .iter()
            .filter(|run| run.status == RunStatus::Completed);
        completed.filter_map(|run| run.ended).max()
    }

    /// How long the connection has been overdue. None if it is not, or has no schedule and no limit.
    pub fn overdue(&self, now: Timestamp) -> Option<SignedDuration> {
        let since = self.last_completed().max(self.first_seen)?;
        let over = now.duration_since(since) - self.freshness()?;
        over.is_positive().then_some(over)
    }

    /// How long the connection may go without a completed run. The event's own limit comes first, then the schedule.
    /// Without either, people start the runs, and none is overdue.
    fn freshness(&self) -> Option<SignedDuration> {
        if self.fresh.is_some() {
            return self.fresh;
        }
        let mut times: Vec<Timestamp> = self.runs.iter().filter_map(|run| run.scheduled).collect();
        times.sort_unstable();
        times.dedup();
        let gaps = times.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        Some(gaps.max()? * GAP_PERCENT / 100 + GRACE)
    }

    pub(super) fn of(item: &Item, incoming: &str) -> Result<Self, StateError> {
        let Some(json) = string_of(item, "history") else {
            return Ok(Self::default());
        };
        let history: Self = serde_json::from_str(json).map_err(|source| StateError::Malformed {
            id: history_id(incoming),
            source,
        })?;
        Ok(Self {
            revision: number_of(item, "revision").unwrap_or(0),
            ..history
        })
    }

    pub(super) fn to_json(&self) -> String {
        // Plain data with string keys always serialises to JSON.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl StateTable {
    /// Reads the history of a connection; an empty one if it never ran.
    pub async fn history(&self, incoming: &str) -> Result<History, StateError> {
        History::of(&self.read(&history_id(incoming), None).await?, incoming)
    }

    /// Stores the history. It is an error if another attempt has stored it since it was read.
    pub async fn save_history(
        &self,
        lease: &Lease,
        history: &mut History,
    ) -> Result<(), StateError> {
        let next = history.revision + 1;
        let mut update = self
            .update(&history_id(lease.incoming()))
            .update_expression(
                "SET history = :history, revision = :next, written_by = :token, version = :version",
            )
            .expression_attribute_values(":history", text(&history.to_json()))
            .expression_attribute_values(":next", number(next))
            .expression_attribute_values(":token", text(lease.token()))
            .expression_attribute_values(":version", number(VERSION))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        update = match history.revision {
            0 => update.condition_expression("attribute_not_exists(revision)"),
            held => update
                .condition_expression("revision = :held")
                .expression_attribute_values(":held", number(held)),
        };
        if let Err(error) = update.send().await {
            let item = refused_item(&error).ok_or_else(|| self.unreachable(&error))?;
            let is_ours = string_of(&item, "written_by") == Some(lease.token())
                && number_of(&item, "revision") == Some(next);
            if !is_ours {
                // The other writer may have lost the lease meanwhile, so ask who holds it.
                let incoming = lease.incoming().to_owned();
                return Err(if self.is_held(lease).await? {
                    StateError::HistoryChanged(incoming)
                } else {
                    StateError::LeaseLost(incoming)
                });
            }
        }
        history.revision = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run(scheduled: Option<&str>, started: &str, status: RunStatus) -> RunRecord {
        RunRecord {
            run: started.to_owned(),
            fingerprint: String::new(),
            scheduled: scheduled.map(time),
            started: time(started),
            ended: Some(time(started)),
            status,
            counts: Counts::default(),
            error: None,
        }
    }

    fn nightly(days: std::ops::RangeInclusive<u32>, status: RunStatus) -> History {
        let mut history = History::default();
        for day in days {
            let at = format!("2026-11-{day:02}T03:00:00Z");
            history.record(run(Some(&at), &at, status));
        }
        history
    }

    /// The contract: 1.25 times the longest recent gap between scheduled times, plus an hour.
    #[test]
    fn a_nightly_connection_is_overdue_after_31_hours() {
        let history = nightly(1..=5, RunStatus::Completed);
        assert_eq!(history.overdue(time("2026-11-06T10:00:00Z")), None);
        assert_eq!(
            history.overdue(time("2026-11-06T10:00:07Z")),
            Some(SignedDuration::from_secs(7))
        );
    }

    #[test]
    fn one_that_never_completed_counts_from_when_it_was_first_seen() {
        let history = nightly(1..=2, RunStatus::Failed);
        assert_eq!(history.overdue(time("2026-11-02T10:00:00Z")), None);
        assert!(history.overdue(time("2026-11-02T10:00:01Z")).is_some());
    }

    #[test]
    fn rings_do_not_make_a_nightly_connection_one_that_is_never_overdue() {
        let mut history = nightly(1..=5, RunStatus::Completed);
        for minute in 0..50 {
            let at = format!("2026-11-05T03:{minute:02}:30Z");
            history.record(run(None, &at, RunStatus::Completed));
        }
        assert_eq!(history.runs.len(), 5 + KEPT);
        let over = history.overdue(time("2026-11-06T10:49:37Z"));
        assert_eq!(over, Some(SignedDuration::from_secs(7)));
    }

    #[test]
    fn what_the_event_says_wins() {
        let mut history = nightly(1..=5, RunStatus::Completed);
        history.fresh = Some(SignedDuration::from_hours(2));
        assert!(history.overdue(time("2026-11-05T05:00:00Z")).is_none());
        assert!(history.overdue(time("2026-11-05T05:00:01Z")).is_some());
    }

    #[test]
    fn a_connection_that_is_run_by_hand_is_never_overdue() {
        let mut history = History::default();
        history.record(run(None, "2026-11-01T03:00:00Z", RunStatus::Completed));
        history.record(run(None, "2026-11-02T03:00:00Z", RunStatus::Failed));
        assert_eq!(history.overdue(time("2027-11-01T03:00:00Z")), None);
    }

    #[test]
    fn a_completed_run_stays_so_when_its_event_comes_again_and_fails() {
        let at = "2026-11-01T03:00:00Z";
        let mut history = History::default();
        history.record(run(Some(at), at, RunStatus::Completed));
        history.record(run(Some(at), at, RunStatus::Failed));
        assert_eq!(history.run(at).unwrap().status, RunStatus::Completed);
        // A takeover runs the same run again.
        history.record(run(Some(at), at, RunStatus::Started));
        history.record(run(Some(at), at, RunStatus::Failed));
        assert_eq!(history.run(at).unwrap().status, RunStatus::Failed);
    }

    #[test]
    fn failures_do_not_push_out_completed_runs() {
        let mut history = nightly(1..=3, RunStatus::Completed);
        for minute in 0..50 {
            let at = format!("2026-11-04T03:{minute:02}:00Z");
            history.record(run(None, &at, RunStatus::Failed));
        }
        assert_eq!(history.runs.len(), 3 + KEPT);
        assert_eq!(history.last_completed(), Some(time("2026-11-03T03:00:00Z")));
        let newest = history.runs.last().unwrap();
        assert_eq!(newest.started, time("2026-11-04T03:49:00Z"));
    }
}
