//! Transformers: what a program sees, what it preserves, and what it cannot reach.

use connector::transformer::{RunError, Schedule, Transformer};
use jiff::tz::TimeZone;

fn schedule(now: &str) -> Schedule<'static> {
    Schedule {
        now: now.parse().unwrap(),
        last: None,
        incoming: "clockings",
        time_zone: TimeZone::get("Europe/Brussels").unwrap(),
    }
}

fn incoming(program: &str, now: &str) -> String {
    let outputs = Transformer::incoming(program)
        .unwrap()
        .run_incoming(r#"{"query":{}}"#, &schedule(now))
        .unwrap();
    assert_eq!(outputs.len(), 1, "{outputs:?}");
    outputs[0].clone()
}

fn outgoing(program: &str, input: &str) -> Result<Vec<String>, RunError> {
    Transformer::outgoing(program).unwrap().run_outgoing(input)
}

#[test]
fn the_examples_of_the_documentation_work() {
    let now = "2026-11-23T10:00:00Z";
    assert_eq!(
        incoming(r#".query.filter = "date ge '\($now[:10])'""#, now),
        r#"{"query":{"filter":"date ge '2026-11-23'"}}"#
    );
    assert_eq!(
        incoming(
            r#".query.filter = "date ge '\(days(-7))' and date le '\(today)'""#,
            now
        ),
        r#"{"query":{"filter":"date ge '2026-11-16' and date le '2026-11-23'"}}"#
    );
    assert_eq!(
        incoming("[$now, $last, $incoming]", now),
        r#"["2026-11-23T10:00:00Z",null,"clockings"]"#
    );
}

#[test]
fn dates_are_local_and_months_end_where_they_end() {
    // 22:30 in UTC is the next day in Brussels.
    let late = "2026-03-30T22:30:00Z";
    assert_eq!(
        incoming("[today, days(1), start_of_month, start_of_year]", late),
        r#"["2026-03-31","2026-04-01","2026-03-01","2026-01-01"]"#
    );
    assert_eq!(
        incoming("[months(-1), months(1), months(11), months(-13)]", late),
        r#"["2026-02-28","2026-04-30","2027-02-28","2025-02-28"]"#
    );
    assert_eq!(
        incoming(
            "[end_of_month, start_of_month(-1), end_of_month(-1), end_of_month(1), start_of_month(0)]",
            late
        ),
        r#"["2026-03-31","2026-02-01","2026-02-28","2026-04-30","2026-03-01"]"#
    );
    let last = Schedule {
        last: Some("2026-11-22T10:00:00Z".parse().unwrap()),
        ..schedule(late)
    };
    assert_eq!(
        Transformer::incoming("$last")
            .unwrap()
            .run_incoming("{}", &last)
            .unwrap(),
        [r#""2026-11-22T10:00:00Z""#]
    );
}

#[test]
fn what_passes_through_stays_as_it_was() {
    let input = r#"{"z":12345678901234567890123.000100,"a":1.10,"é":"\u00e9\n","n":123456789012345678901234567890,"e":1e2}"#;
    let output = &outgoing("{payload: .}", input).unwrap()[0];
    assert_eq!(
        output,
        r#"{"payload":{"z":12345678901234567890123.000100,"a":1.10,"é":"é\n","n":123456789012345678901234567890,"e":1e2}}"#
    );
}

#[test]
fn one_two_or_no_outputs_are_told_apart_even_of_an_endless_program() {
    assert!(outgoing("empty", "1").unwrap().is_empty());
    assert_eq!(outgoing("1, 2, 3", "1").unwrap().len(), 2);
    assert_eq!(outgoing("repeat(1)", "1").unwrap().len(), 2);
}

#[test]
fn nothing_outside_can_be_reached() {
    for program in [
        "env",
        "$ENV",
        "input",
        "inputs",
        "import \"x\" as x; 1",
        "$now",
        "today",
    ] {
        assert!(Transformer::outgoing(program).is_err(), "{program}");
    }
    assert!(
        outgoing("halt", "1")
            .unwrap_err()
            .to_string()
            .contains("halt is not available")
    );
    assert_eq!(
        outgoing("debug | stderr", "\"canary\"").unwrap(),
        ["\"canary\""]
    );
}

#[test]
fn errors_name_the_place_and_the_program_s_own_words() {
    for (program, expected) in [
        (
            ".query = ",
            "jq, line 1, column 10: expected term, found the end",
        ),
        (
            ".a\n| foo(1)",
            "jq, line 2, column 3: undefined function `foo/1`",
        ),
        (
            "$nothing",
            "jq, line 1, column 1: undefined variable `$nothing`",
        ),
        ("{", "jq, line 1, column 2"),
    ] {
        let error = Transformer::outgoing(program).unwrap_err().to_string();
        assert!(error.contains(expected), "{program}: {error}");
    }
    assert!(
        outgoing("error(\"no badge\")", "1")
            .unwrap_err()
            .to_string()
            .contains("no badge")
    );
    assert!(
        Transformer::incoming("days(1.5)")
            .unwrap()
            .run_incoming("{}", &schedule("2026-11-23T10:00:00Z"))
            .is_err()
    );
}

#[test]
fn input_cannot_exhaust_the_stack() {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    assert!(matches!(outgoing(".", &deep), Err(RunError::Input(_))));
    assert!(outgoing(".", "not JSON").is_err());
    assert!(
        outgoing(".", r#""[[[[ \" [[[[""#).is_ok(),
        "brackets in strings do not count"
    );
}
