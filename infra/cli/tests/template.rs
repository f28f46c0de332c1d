//! `protimectl check` on templates, without AWS and without a network.

use std::process::{Command, Output};

use serde_json::Value;

const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/templates");
const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The file, the line and column (from 1), and the message of a mistake.
type Place = (&'static str, u64, u64, &'static str);

fn check(directory: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_protimectl"))
        .arg("check")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .output()
        .unwrap()
}

fn json(template: &str) -> Value {
    let output = check(TEMPLATES, &[template, "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["exitCode"], output.status.code().unwrap());
    document
}

fn assert_found(template: &str, expected: &[Place]) {
    let document = json(template);
    let findings = document["findings"].as_array().unwrap();
    let findings = findings.iter();
    let findings: Vec<_> = findings
        .filter(|finding| finding["severity"] == "error")
        .collect();
    let shown = format!("{template}: {document:#}");
    assert_eq!(findings.len(), expected.len(), "{shown}");
    for (file, line, column, words) in expected {
        let found = findings.iter().find(|finding| {
            finding["file"] == *file && finding["line"] == *line && finding["column"] == *column
        });
        let found = found.unwrap_or_else(|| panic!("{file}:{line}:{column} in {shown}"));
        assert!(
            found["message"].as_str().unwrap().contains(words),
            "{shown}"
        );
    }
    assert_eq!(document["exitCode"], 11, "{shown}");
}

#[test]
fn every_mistake_is_found_at_its_place() {
    let one: [Place; 16] = [
        ("entity.yaml", 21, 27, "did you mean `clockings`?"),
        ("jq_compile.yaml", 22, 75, "jq, line 1, column 42"),
        (
            "jq_run.yaml",
            22,
            48,
            "jq, line 1, column 18, in `\"date ge \" + 7`",
        ),
        ("field.yaml", 22, 17, "did you mean `pagination`?"),
        ("fields.yaml", 22, 27, "needs the name of a property"),
        ("required.yaml", 22, 37, "`date` is required"),
        ("operator.yaml", 22, 43, "`gt` is not an operator"),
        ("cron.yaml", 15, 40, "`25` is no hour"),
        ("time_zone.yaml", 16, 41, "did you mean `Europe/Brussels`?"),
        (
            "duplicate.yaml",
            31,
            29,
            "taken by the connection at duplicate.yaml:19",
        ),
        (
            "deltas.yaml",
            35,
            25,
            "the connection at deltas.yaml:22 has the delta of `clockings`",
        ),
        ("client.yaml", 20, 27, "does not begin with `protime/`"),
        ("name.yaml", 20, 28, "did you mean `ClientSecretPrefix`?"),
        ("syntax.yaml", 5, 25, "mapping values are not allowed"),
        ("outgoing.yaml", 7, 59, "unknown method \"PATCH\""),
        ("json.yaml", 22, 17, "not JSON"),
    ];
    for place in one {
        assert_found(place.0, &[place]);
    }
}

#[test]
fn nested_templates_are_looked_at_with_their_parameters() {
    assert_found(
        "nesting.yaml",
        &[
            ("nesting.yaml", 11, 63, "did you mean `clockings`?"),
            ("nested/publisher.yaml", 17, 40, "has to be `?`"),
            ("nested/publisher.yaml", 23, 63, "did you mean `people`?"),
        ],
    );
}

#[test]
fn templates_in_json_are_templates() {
    assert_found(
        "template.json",
        &[
            ("template.json", 10, 28, "write rate(1 day)"),
            ("template.json", 11, 97, "did you mean `clockings`?"),
        ],
    );
}

#[test]
fn parameters_have_their_overrides_and_functions_their_values() {
    assert_found(
        "overrides/template.yaml",
        &[
            (
                "overrides/template.yaml",
                49,
                32,
                "does not begin with `acme/`",
            ),
            ("overrides/template.yaml", 49, 75, "found an ARN"),
            ("overrides/samconfig.toml", 6, 14, "not JSON"),
        ],
    );
}

#[test]
fn what_may_be_right_is_a_warning() {
    let document = json("warning.yaml");
    let findings = document["findings"].as_array().unwrap();
    let [warning] = findings.as_slice() else {
        panic!("{document:#}");
    };
    assert_eq!(warning["severity"], "warning");
    assert_eq!(
        (&warning["line"], &warning["column"]),
        (&21.into(), &27.into())
    );
    assert_eq!(document["exitCode"], 0);
    let output = check(TEMPLATES, &["warning.yaml"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with(": no mistakes, 1 warning\n"), "{text}");
}

#[test]
fn what_fields_leave_open_is_a_warning() {
    for (template, place, words) in [
        ("unknown_fields.yaml", (22, 27), "did you mean `person.id`?"),
        ("no_fields.yaml", (21, 27), "geolocation.latitude"),
    ] {
        let document = json(template);
        let mut warnings = document["findings"].as_array().unwrap().iter();
        let found = warnings.find(|finding| {
            let is_warning = finding["severity"] == "warning";
            is_warning && finding["message"].as_str().unwrap().contains(words)
        });
        let found = found.unwrap_or_else(|| panic!("{words}: {document:#}"));
        assert_eq!(
            (&found["line"], &found["column"]),
            (&place.0.into(), &place.1.into())
        );
    }
}

#[test]
fn what_is_shipped_passes() {
    for (template, summary) in [
        (
            "template.yaml",
            "2 templates, 1 incoming connection, 1 outgoing connection: no mistakes",
        ),
        (
            "infra/outgoing.yaml",
            "1 template, 0 incoming connections, 1 outgoing connection: no mistakes",
        ),
    ] {
        let output = check(SHIPPED, &[template]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let text = String::from_utf8(output.stdout).unwrap();
        // A count of warnings may follow on the same line.
        assert!(text.lines().last().unwrap().starts_with(summary), "{text}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn text_shows_the_line_and_no_colours_to_a_file() {
    let output = check(TEMPLATES, &["entity.yaml", "cron.yaml"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\u{1b}'), "{text}");
    for line in [
        "error: connection `clockings`: entity `clokings`: unknown; did you mean `clockings`?",
        "  --> entity.yaml:21:27",
        "21 |                 \"entity\": \"clokings\",",
        "   |                           ^^^^^^^^^^",
        "  --> cron.yaml:15:40",
        "2 templates, 2 incoming connections, 0 outgoing connections: 2 mistakes",
    ] {
        let is_there = text.lines().any(|found| found.starts_with(line));
        assert!(is_there, "{line}\n{text}");
    }
    assert_eq!(output.status.code(), Some(11));
}

#[test]
fn a_template_that_is_not_there_is_a_wrong_argument() {
    let output = check(TEMPLATES, &["none.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("none.yaml"), "{message}");
}
