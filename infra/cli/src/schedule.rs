//! The next time at which a schedule runs.

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::local_time::LocalTime;

use crate::source::Schedule;

impl Schedule {
    /// The next run after `now`. `None` if the schedule does not run again or cannot be evaluated.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_enabled {
            return None;
        }
        let zone = TimeZone::get(&self.time_zone).ok()?;
        if let Some(fields) = within(&self.expression, "cron") {
            return next_of_cron(fields, &LocalTime { time: now, zone });
        }
        if let Some(rate) = within(&self.expression, "rate") {
            return next_of_rate(rate, self.created?, now);
        }
        let at: jiff::civil::DateTime = within(&self.expression, "at")?.parse().ok()?;
        let at = zone.to_ambiguous_timestamp(at).compatible().ok()?;
        (at > now).then_some(at)
    }
}

fn within<'a>(expression: &'a str, kind: &str) -> Option<&'a str> {
    let rest = expression.strip_prefix(kind)?;
    rest.strip_prefix('(')?.strip_suffix(')')
}

/// AWS counts the days of the week from Sunday, which is 1, as Quartz does.
fn next_of_cron(fields: &str, now: &LocalTime) -> Option<Timestamp> {
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .build();
    // The library accepts years only after seconds, which AWS does not have.
    let cron = parser.parse(&format!("0 {fields}")).ok()?;
    let next = cron.find_next_occurrence(now, false).ok()?;
    Some(next.time)
}

fn next_of_rate(rate: &str, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let (number, unit) = rate.split_once(' ')?;
    let number: i64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit.trim_end_matches('s') {
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    let every = number.checked_mul(unit)?;
    let passed = now.duration_since(created).as_secs().max(0);
    let next = created.checked_add(SignedDuration::from_secs((passed / every + 1) * every));
    next.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_that_of_aws() {
        let next = |expression: &str, now: &str| {
            let schedule = Schedule {
                expression: expression.to_owned(),
                time_zone: "Europe/Brussels".to_owned(),
                is_enabled: true,
                created: "2026-11-26T08:10:00Z".parse().ok(),
            };
            let next = schedule.next(now.parse().unwrap());
            next.map(|next| next.to_string()).unwrap_or_default()
        };
        let thursday = "2026-11-26T10:00:00Z";
        for (expression, expected) in [
            ("cron(0 3 * * ? *)", "2026-11-27T02:00:00Z"),
            ("cron(30 18 ? * MON-FRI *)", "2026-11-26T17:30:00Z"),
            // In AWS expressions, 2 is Monday.
            ("cron(0 6 ? * 2 *)", "2026-11-30T05:00:00Z"),
            ("cron(0 6 1 1 ? 2027)", "2027-01-01T05:00:00Z"),
            ("cron(0 6 L * ? *)", "2026-11-30T05:00:00Z"),
            ("rate(1 hour)", "2026-11-26T10:10:00Z"),
            ("rate(15 minutes)", "2026-11-26T10:10:00Z"),
            ("at(2026-12-01T06:00:00)", "2026-12-01T05:00:00Z"),
            ("at(2025-12-01T06:00:00)", ""),
            ("every day", ""),
        ] {
            assert_eq!(next(expression, thursday), expected, "{expression}");
        }
    }
}
