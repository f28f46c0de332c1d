//! Times and counts as text for people.

use jiff::{SignedDuration, Timestamp};

/// Such as `3 h ago` or `in 5 min`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    let span = now.duration_since(time);
    if span.is_negative() {
        format!("in {}", duration(-span))
    } else {
        format!("{} ago", duration(span))
    }
}

/// A duration in the largest unit that gives at least two, or in seconds.
pub(crate) fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Such as `1 page` or `2 pages`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
