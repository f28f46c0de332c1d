//! Whether a record in Protime is the one that a write would have created.
//!
//! Protime fills in what was left out, formats numbers and ids its own way, and may give a clocking another day. So
//! values are compared by meaning. Values that cannot be compared do not count as different.

use connector::after_lost_response::LookUp;
use jiff::civil::{Date, date};
use serde_json::Value;

/// How well a record matches the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordMatch {
    Other,
    /// The same person and moment; something else differs or cannot be compared.
    Similar,
    Equal,
}

/// The result of comparing two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ValueMatch {
    Different,
    Unknown,
    Same,
}

/// Protime can assign a clocking after `EVENING` to the next day, and one before `MORNING` to the previous day
/// (`concepts/clocking-model`). Minutes of the day.
const EVENING: i64 = 18 * 60;
const MORNING: i64 = 8 * 60;
const DAY: i64 = 1_440;

/// How well a record of the same person matches the payload.
pub(crate) fn match_record(payload: &Value, record: &Value, rule: &LookUp) -> RecordMatch {
    if record["status"] == "Deleted" {
        return RecordMatch::Other;
    }
    let of_all = |names: &[&str]| {
        let compared = names
            .iter()
            .map(|name| compare(&payload[*name], &record[*name]));
        compared.min().unwrap_or(ValueMatch::Same)
    };
    let moment = moment(payload, record, rule);
    match moment.min(of_all(&rule.identity)) {
        ValueMatch::Different => RecordMatch::Other,
        ValueMatch::Same if of_all(&rule.equal) == ValueMatch::Same => RecordMatch::Equal,
        ValueMatch::Unknown | ValueMatch::Same => RecordMatch::Similar,
    }
}

/// Compares date and minutes. The same moment can be written as minutes of one date or of the next.
fn moment(payload: &Value, record: &Value, rule: &LookUp) -> ValueMatch {
    let day = |value: &Value| value[rule.date].as_str().and_then(day_of);
    let (Some(wanted), Some(found)) = (day(payload), day(record)) else {
        return ValueMatch::Unknown;
    };
    let Some(first) = rule.minutes.first() else {
        return if wanted == found {
            ValueMatch::Same
        } else {
            ValueMatch::Different
        };
    };
    let Some(minutes) = integer_of(&payload[*first]) else {
        return ValueMatch::Unknown;
    };
    let of_record = || {
        rule.minutes
            .iter()
            .filter_map(|name| integer_of(&record[*name]))
    };
    if of_record().next().is_none() {
        return ValueMatch::Unknown;
    }
    let (wanted, found) = (days(wanted), days(found));
    if of_record().any(|there| found * DAY + there == wanted * DAY + minutes) {
        return ValueMatch::Same;
    }
    // The schedule may have changed only the day. How Protime returns such a clocking is not documented.
    let moved = match found - wanted {
        1 => minutes >= EVENING,
        -1 => minutes < MORNING,
        _ => false,
    };
    if moved && of_record().any(|there| there == minutes) {
        ValueMatch::Unknown
    } else {
        ValueMatch::Different
    }
}

fn days(day: Date) -> i64 {
    i64::from(
        day.since(date(2000, 1, 1))
            .map_or(i32::MAX, |span| span.get_days()),
    )
}

/// The date in a text, which may have a time after it.
pub(crate) fn day_of(text: &str) -> Option<Date> {
    text.get(..10)?.parse().ok()
}

/// A whole number, even if it is written as `600.0` or as text.
pub(crate) fn integer_of(value: &Value) -> Option<i64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (number.fract() == 0.0 && number.abs() < 1e15).then_some(number as i64)
}

/// Compares what was written with what Protime returns. Members that were not written do not matter.
fn compare(written: &Value, there: &Value) -> ValueMatch {
    match (written, there) {
        (Value::Null, _) => ValueMatch::Same,
        (written, Value::Null) if is_nothing(written) => ValueMatch::Same,
        (Value::Object(written), Value::Object(there)) => written
            .iter()
            .map(|(name, written)| compare(written, there.get(name).unwrap_or(&Value::Null)))
            .min()
            .unwrap_or(ValueMatch::Same),
        (Value::Array(written), Value::Array(there)) => compare_lists(written, there),
        (Value::Bool(written), Value::Bool(there)) => same(written == there),
        (Value::String(written), Value::String(there)) => compare_texts(written, there),
        (Value::Number(_), Value::Number(_) | Value::String(_))
        | (Value::String(_), Value::Number(_)) => match (number(written), number(there)) {
            (Some(written), Some(there)) => same(written.total_cmp(&there).is_eq()),
            _ => ValueMatch::Unknown,
        },
        // Protime does not return the value, or returns another kind of value.
        _ => ValueMatch::Unknown,
    }
}

/// Compares lists regardless of order.
fn compare_lists(written: &[Value], there: &[Value]) -> ValueMatch {
    let found = |item: &Value| {
        let compared = there.iter().map(|there| compare(item, there));
        compared.max().unwrap_or(ValueMatch::Different)
    };
    let all = written.iter().map(found).min().unwrap_or(ValueMatch::Same);
    // Protime may add items to what was written.
    if written.len() < there.len() {
        all.min(ValueMatch::Unknown)
    } else {
        all
    }
}

fn same(is_same: bool) -> ValueMatch {
    if is_same {
        ValueMatch::Same
    } else {
        ValueMatch::Different
    }
}

/// Whether the value means the same as none: null, false, 0 or empty. Protime may leave out or add such values.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(true) => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn compare_texts(written: &str, there: &str) -> ValueMatch {
    let (written, there) = (written.trim(), there.trim());
    let is_guid = |text: &str| {
        text.len() == 36
            && text
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    };
    let days = (day_of(written), day_of(there));
    if written == there || matches!(days, (Some(written), Some(there)) if written == there) {
        ValueMatch::Same
    } else if !written.eq_ignore_ascii_case(there) {
        ValueMatch::Different
    } else if is_guid(written) {
        ValueMatch::Same
    } else {
        // The documentation does not say whether case matters.
        ValueMatch::Unknown
    }
}

#[cfg(test)]
mod tests {
    use connector::after_lost_response::AfterLostResponse;
    use protime::catalogue::{OperationKind, catalogue};
    use serde_json::json;

    use super::*;

    fn rule(entity: &str) -> &'static LookUp {
        let entity = catalogue().entity(entity).unwrap();
        let create = entity.operation(OperationKind::Create).unwrap();
        match AfterLostResponse::of(Some(create)) {
            AfterLostResponse::LookUp(rule) => rule,
            other => panic!("{other:?}"),
        }
    }

    fn clocking(change: &Value) -> Value {
        let mut record = json!({"id": 7, "person": {"id": 1}, "date": "2026-02-13", "timeOfDayInMinutes": 1320,
            "originalTimeOfDayInMinutes": 1320, "kind": "InOut", "status": "Active", "isGenerated": false});
        for (name, value) in change.as_object().unwrap() {
            record[name] = value.clone();
        }
        record
    }

    #[test]
    fn a_clocking_is_known_by_its_moment_and_kind() {
        let payload = json!({"person": {"id": 1}, "date": "2026-02-13", "timeOfDayInMinutes": 1320, "kind": "InOut"});
        for (change, expected) in [
            (json!({}), RecordMatch::Equal),
            (
                json!({"date": "2026-02-14", "timeOfDayInMinutes": -120}),
                RecordMatch::Equal,
            ),
            // Protime has rounded this value; the record still has the original one.
            (json!({"timeOfDayInMinutes": 1315}), RecordMatch::Equal),
            (json!({"date": "2026-02-14"}), RecordMatch::Similar),
            (json!({"date": "2026-02-12"}), RecordMatch::Other),
            (json!({"kind": "Reason"}), RecordMatch::Other),
            (json!({"kind": "inout"}), RecordMatch::Similar),
            (json!({"status": "Deleted"}), RecordMatch::Other),
            (
                json!({"timeOfDayInMinutes": 1300, "originalTimeOfDayInMinutes": 1300}),
                RecordMatch::Other,
            ),
            (
                json!({"timeOfDayInMinutes": null, "originalTimeOfDayInMinutes": null}),
                RecordMatch::Similar,
            ),
        ] {
            let found = match_record(&payload, &clocking(&change), rule("clockings"));
            assert_eq!(found, expected, "{change}");
        }
        let morning = json!({"date": "2026-02-13", "timeOfDayInMinutes": 510, "kind": "InOut"});
        let yesterday = json!({"date": "2026-02-12", "timeOfDayInMinutes": 510, "originalTimeOfDayInMinutes": 510});
        let found = match_record(&morning, &clocking(&yesterday), rule("clockings"));
        assert_eq!(
            found,
            RecordMatch::Other,
            "who comes at the same time every day"
        );
    }

    #[test]
    fn values_are_compared_by_what_they_mean() {
        let payload = json!({"date": "2026-02-13T00:00:00", "timeOfDayInMinutes": 1320.0, "kind": "InOut", "terminal": {"id": 3.0}});
        let equal = clocking(&json!({"terminal": {"id": 3}}));
        assert_eq!(
            match_record(&payload, &equal, rule("clockings")),
            RecordMatch::Equal
        );
        let differs = clocking(&json!({"terminal": {"id": 4}}));
        assert_eq!(
            match_record(&payload, &differs, rule("clockings")),
            RecordMatch::Similar
        );
        let hidden = clocking(&json!({}));
        assert_eq!(
            match_record(&payload, &hidden, rule("clockings")),
            RecordMatch::Similar
        );
    }

    #[test]
    fn an_assignment_is_known_by_its_day_start_and_activities() {
        let guid = "ABCDEF00-0000-4000-8000-000000000001";
        let payload = json!({"person": {"id": 1}, "from": "2026-02-02", "startTimeInMinutes": 600.0, "comments": null,
            "activityLevels": [{"level": 1, "activityDefinition": {"id": guid}}]});
        let record = |change: &Value| {
            let mut record = json!({"person": {"id": 1}, "from": "2026-02-02", "until": "2026-02-02", "startTimeInMinutes": 600,
                "breakDurationInMinutes": 0, "comments": "",
                "activityLevels": [{"level": 1, "activityDefinition": {"id": guid.to_lowercase()}}]});
            for (name, value) in change.as_object().unwrap() {
                record[name] = value.clone();
            }
            record
        };
        let other = json!([{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000002"}}]);
        for (change, expected) in [
            (json!({}), RecordMatch::Equal),
            (json!({"activityLevels": other}), RecordMatch::Other),
            (json!({"startTimeInMinutes": 660}), RecordMatch::Other),
            (json!({"from": "2026-02-03"}), RecordMatch::Other),
        ] {
            let found = match_record(&payload, &record(&change), rule("assignments"));
            assert_eq!(found, expected, "{change}");
        }
        let mut commented = payload.clone();
        commented["comments"] = "late".into();
        assert_eq!(
            match_record(&commented, &record(&json!({})), rule("assignments")),
            RecordMatch::Similar
        );
        let mut referenced = payload;
        referenced["activityLevels"] = json!([{"level": 1, "activityDefinition": {"externalReferences": {"@data-entry-code": "a"}}}]);
        assert_eq!(
            match_record(&referenced, &record(&json!({})), rule("assignments")),
            RecordMatch::Similar
        );
    }
}
