//! Times and counts as people read them.

use jiff::{SignedDuration, Timestamp};

/// `3 h ago`, `in 5 min`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    let span = now.duration_since(time);
    if span.is_negative() {
        format!("in {}", duration(-span))
    } else {
        format!("{} ago", duration(span))
    }
}

/// In the largest unit of which there are two, or one.
pub(crate) fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `1 page`, `2 pages`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
