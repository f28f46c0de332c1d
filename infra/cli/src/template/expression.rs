//! Checks when schedules run: `rate(...)`, `cron(...)` and `at(...)`, by the rules of AWS.

use std::ops::Range;

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;

/// The service that runs the schedule. The services accept different expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Scheduler,
    /// The older `EventBridge` rules.
    Rules,
}

/// The wrong part of an expression.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) part: Range<usize>,
    pub(super) problem: String,
}

/// The names and bounds of the six fields.
const FIELDS: [(&str, u32, u32); 6] = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 1, 7),
    ("year", 1970, 2199),
];
const DAY_OF_MONTH: usize = 2;
const DAY_OF_WEEK: usize = 4;

pub(super) fn check(text: &str, service: Service) -> Result<(), Wrong> {
    let whole = || 0..text.len();
    let wrong = |problem: String| Wrong {
        part: whole(),
        problem,
    };
    let form = text.strip_suffix(')').and_then(|text| text.split_once('('));
    match form {
        Some(("rate", inner)) => rate(inner, service).map_err(wrong),
        Some(("cron", inner)) => cron(inner, "cron(".len()),
        Some(("at", inner)) if service == Service::Scheduler => at(inner).map_err(wrong),
        Some(("at", _)) => Err(wrong(
            "`at(...)` is for AWS::Scheduler::Schedule and ScheduleV2 only".to_owned(),
        )),
        _ => Err(wrong(format!(
            "`{text}` is not rate(...), cron(...) or at(...), such as rate(15 minutes) or cron(0 3 * * ? *)"
        ))),
    }
}

fn rate(inner: &str, service: Service) -> Result<(), String> {
    let wrong = || {
        format!(
            "rate({inner}): needs a number and minutes, hours or days, such as rate(15 minutes)"
        )
    };
    let (number, unit) = inner.trim().split_once(' ').ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim();
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    if number == 0 || !matches!(singular, "minute" | "hour" | "day") {
        return Err(wrong());
    }
    if service == Service::Rules && (number == 1) != (unit == singular) {
        let meant = if number == 1 {
            singular.to_owned()
        } else {
            format!("{singular}s")
        };
        return Err(format!("rate({inner}): write rate({number} {meant})"));
    }
    Ok(())
}

fn at(inner: &str) -> Result<(), String> {
    // The parser also takes dates without times, and other forms.
    let is_plain = inner.len() == "yyyy-mm-ddThh:mm:ss".len() && inner.contains('T');
    match inner.parse::<DateTime>() {
        Ok(_) if is_plain => Ok(()),
        _ => Err(format!(
            "at({inner}): needs a time such as at(2026-11-23T03:00:00)"
        )),
    }
}

/// Checks the six fields. `start` is the offset of the first field in the expression.
fn cron(inner: &str, start: usize) -> Result<(), Wrong> {
    let place = |field: &str| {
        let at = start + (field.as_ptr().addr() - inner.as_ptr().addr());
        at..at + field.len()
    };
    let fields: Vec<&str> = inner.split_whitespace().collect();
    let fields: [&str; 6] = fields.try_into().map_err(|fields: Vec<&str>| Wrong {
        part: start..start + inner.len(),
        problem: format!(
            "cron({inner}): has {} fields; needs six: minutes hours day-of-month month day-of-week year",
            fields.len()
        ),
    })?;
    for (index, field) in fields.iter().enumerate() {
        if !is_right(index, field) {
            let (name, least, most) = FIELDS[index];
            return Err(Wrong {
                part: place(field),
                problem: format!(
                    "cron({inner}): `{field}` is no {name}, which is {least} to {most}{}",
                    also(index)
                ),
            });
        }
    }
    let [_, _, of_month, _, of_week, _] = fields;
    match (of_month, of_week) {
        ("?", "?") => Err(Wrong {
            part: place(of_month),
            problem: format!(
                "cron({inner}): day of the month and day of the week are both `?`; write `*` for one of them"
            ),
        }),
        ("?", _) | (_, "?") => Ok(()),
        _ => Err(Wrong {
            part: place(if of_week == "*" { of_week } else { of_month }),
            problem: format!(
                "cron({inner}): day of the month or day of the week has to be `?`, the one that does not matter"
            ),
        }),
    }
}

fn also(field: usize) -> &'static str {
    match field {
        DAY_OF_MONTH => ", with , - * / L W, or `?`",
        3 => " or JAN to DEC, with , - * /",
        DAY_OF_WEEK => " or SUN to SAT (1 is Sunday), with , - * / L #, or `?`",
        _ => ", with , - * /",
    }
}

/// Whether AWS accepts a field.
fn is_right(index: usize, field: &str) -> bool {
    if field == "?" || (index == DAY_OF_WEEK && field == "L") {
        return matches!(index, DAY_OF_MONTH | DAY_OF_WEEK);
    }
    let mut is_backwards = false;
    for item in field.split(',') {
        let values = item.split(['/', '#']).next().unwrap_or_default();
        let numbers: Vec<u32> = values
            .split('-')
            .filter_map(|value| value.trim_end_matches(['L', 'W']).parse().ok())
            .collect();
        let (_, least, most) = FIELDS[index];
        if numbers
            .iter()
            .any(|number| !(least..=most).contains(number))
        {
            return false;
        }
        is_backwards |= matches!(numbers.as_slice(), [from, until] if until < from);
    }
    // The documentation does not say what AWS does with a range such as 22-2.
    is_backwards || parses(index, field)
}

/// Whether the cron library accepts a field. AWS writes fields as Quartz does.
fn parses(index: usize, field: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "*,-/#".contains(c);
    let mut fields = ["*"; 6];
    fields[index] = field;
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .sloppy_ranges(true)
        .build();
    field.chars().all(is_plain) && parser.parse(&format!("0 {}", fields.join(" "))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_aws_takes_passes() {
        for text in [
            "rate(15 minutes)",
            "rate(1 hour)",
            "rate(1 day)",
            "cron(0 3 * * ? *)",
            "cron(15 10 ? * MON-FRI *)",
            "cron(0/5 8-17 ? * 2-6 2026-2030)",
            "cron(0 9 ? * 2#1 *)",
            "cron(0 9 ? * FRI#2 *)",
            "cron(0 9 L * ? *)",
            "cron(0 9 3W * ? *)",
            "cron(0 9 ? * 6L *)",
            "cron(0 9 ? * L *)",
            "cron(0,30 3 1,15 JAN,JUL ? *)",
            "cron(*/10 * ? * * *)",
            "cron(0 22-2 * * ? *)",
            "at(2026-11-23T03:00:00)",
        ] {
            assert_eq!(check(text, Service::Scheduler), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_aws_refuses_is_found_at_its_place() {
        for (text, part, words) in [
            ("every day", "every day", "is not rate"),
            ("rate(0 minutes)", "rate(0 minutes)", "needs a number"),
            ("rate(5 weeks)", "rate(5 weeks)", "needs a number"),
            ("cron(0 3 * * *)", "0 3 * * *", "has 5 fields"),
            ("cron(0 24 * * ? *)", "24", "`24` is no hour"),
            ("cron(0 3 * * * *)", "*", "has to be `?`"),
            ("cron(0 3 ? * ? *)", "?", "both `?`"),
            ("cron(0 3 ? * 0 *)", "0", "day of the week"),
            ("cron(0 3 ? * 8 *)", "8", "day of the week"),
            ("cron(0 3 ? * MOO *)", "MOO", "day of the week"),
            ("cron(0 3 * * ? 26)", "26", "is no year"),
            ("cron(60 3 * * ? *)", "60", "is no minute"),
            ("cron(x 3 * * ? *)", "x", "is no minute"),
            ("cron(0 3 +1 * ? *)", "+1", "day of the month"),
            ("at(2026-11-23)", "at(2026-11-23)", "needs a time"),
        ] {
            let wrong = check(text, Service::Scheduler).unwrap_err();
            assert_eq!(&text[wrong.part.clone()], part, "{text}");
            assert!(wrong.problem.contains(words), "{}", wrong.problem);
        }
        assert!(check("rate(1 minutes)", Service::Rules).is_err());
        assert!(check("at(2026-11-23T03:00:00)", Service::Rules).is_err());
    }
}
