//! `protimectl new`, without AWS and without a terminal.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../connections.yaml");
const SKELETON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/commands/new/connections.yaml"
);
const ABSENCES: [&str; 5] = [
    "absences",
    "--client",
    "protime/acme",
    "--entity",
    "absences",
];

/// A temporary folder for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("new-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A folder with a copy of the shipped template of connections.
    fn with_connections(name: &str) -> Self {
        let folder = Self::new(name);
        fs::create_dir(folder.0.join("infra")).unwrap();
        fs::copy(SHIPPED, folder.connections()).unwrap();
        folder
    }

    fn connections(&self) -> PathBuf {
        self.0.join("infra/connections.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.connections()).unwrap()
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_protimectl"));
        command.args(arguments).current_dir(&self.0).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // A command that refuses its arguments does not read its input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Runs the command. Returns its JSON document and the exit code.
    fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let output = self.run(&[arguments, &["--json"]].concat(), "");
        let document = serde_json::from_slice(&output.stdout);
        let document: Value = document.unwrap_or_else(|_| panic!("{output:?}"));
        (document, output.status.code().unwrap())
    }

    fn connection(&self, arguments: &[&str], more: &[&str]) -> (Value, i32) {
        self.json(&[&["new", "connection"], arguments, more].concat())
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join("infra")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn message(document: &Value) -> &str {
    document["error"]["message"].as_str().unwrap()
}

#[test]
fn a_connection_is_written_and_everything_else_stays() {
    let folder = Folder::with_connections("written");
    let before = folder.text();
    let (document, code) = folder.connection(
        &ABSENCES,
        &[
            "--schedule",
            "rate(1 hour)",
            "--time-zone",
            "Europe/Paris",
            "--yes",
        ],
    );
    assert_eq!((code, &document["done"]), (0, &json!(true)), "{document:#}");
    let expected = r#"
  Absences:
    Type: AWS::Scheduler::Schedule
    Properties:
      GroupName: !Ref ScheduleGroup
      ScheduleExpression: rate(1 hour)
      ScheduleExpressionTimezone: Europe/Paris
      FlexibleTimeWindow: {Mode: "OFF"}
      State: !Ref ScheduleState
      Target:
        Arn: !Ref SubscriberArn
        RoleArn: !GetAtt ScheduleRole.Arn
        RetryPolicy:
          MaximumRetryAttempts: 5
          MaximumEventAgeInSeconds: 3600
        DeadLetterConfig:
          Arn: !Ref ScheduleDeadLetterQueueArn
        Input: !Sub |
          {
            "incoming": "absences",
            "client": "${ClientSecretPrefix}acme",
            "entity": "absences",
            "transform": ".query.filter = \"date ge '\\(days(-7))' and date le '\\(today)'\"",
            "sync": "full",
            "time_zone": "Europe/Paris",
            "scheduled": "<aws.scheduler.scheduled-time>"
          }
"#;
    assert_eq!(folder.text(), before + expected);
    assert_eq!(
        folder.files(),
        [folder.connections()],
        "no other file is left"
    );
    let (checked, code) = folder.json(&["check", "infra/connections.yaml"]);
    assert_eq!((code, &checked["incoming"]), (0, &json!(1)), "{checked:#}");
}

#[test]
fn what_is_written_is_what_was_asked_for() {
    let folder = Folder::with_connections("asked");
    let changes = [
        "changes",
        "--client",
        "other/acme",
        "--entity",
        "people",
        "--sync",
        "delta",
    ];
    let (document, code) = folder.connection(&changes, &["--yes"]);
    // The prefix does not let the functions read this secret.
    assert_eq!(code, 11, "{document:#}");
    assert!(
        message(&document).contains("does not begin with `protime/`"),
        "{document:#}"
    );
    let usages = [
        "usages-of-7",
        "--client",
        "protime/acme",
        "--entity",
        "activity-definitions/usages",
        "--path",
        "structureVersionId=7",
        "--path",
        "level=1",
        "--path",
        "id=x",
        "--transform",
        ".query.a = \"${b}\"",
        "--fields",
        "id, description",
    ];
    let (document, code) = folder.connection(&usages, &["--yes"]);
    assert_eq!(code, 0, "{document:#}");
    let text = folder.text();
    for line in [
        "  UsagesOf7:",
        r#"            "path": {"id":"x","level":1,"structureVersionId":7},"#,
        r#"            "transform": ".query.a = \"${!b}\"","#,
        r#"            "fields": ["id","description"],"#,
        "      ScheduleExpression: cron(0 3 * * ? *)",
        "      ScheduleExpressionTimezone: Europe/Brussels",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_delta_of_what_needs_dates_begins_with_the_year() {
    let folder = Folder::with_connections("delta");
    let delta = [
        "c-delta",
        "--client",
        "protime/acme",
        "--entity",
        "clockings",
        "--sync",
        "delta",
    ];
    let (document, code) = folder.connection(&delta, &["--dry-run"]);
    assert_eq!(code, 0, "{document:#}");
    let block = document["block"].as_str().unwrap();
    assert!(
        block.contains(r#""transform": ".query.filter = \"date ge '\\(start_of_year)'\"""#),
        "{block}"
    );
    assert!(block.contains(r#""sync": "delta""#), "{block}");
}

#[test]
fn the_same_name_is_refused_the_second_time() {
    let folder = Folder::with_connections("twice");
    assert_eq!(folder.connection(&ABSENCES, &["--yes"]).1, 0);
    let before = folder.text();
    let (document, code) = folder.connection(&ABSENCES, &["--yes"]);
    assert_eq!(code, 11);
    assert!(
        message(&document).contains("has a resource `Absences` already, in line "),
        "{document:#}"
    );
    // The connection's name is taken too, whatever the resource is called.
    let renamed = before.replace("  Absences:\n", "  Other:\n");
    fs::write(folder.connections(), &renamed).unwrap();
    let (document, code) = folder.connection(&ABSENCES, &["--yes"]);
    assert_eq!(code, 11);
    assert!(
        message(&document).contains("taken by the connection at infra/connections.yaml:"),
        "{document:#}"
    );
    assert_eq!(folder.text(), renamed);
}

/// Arguments, the exit code, and what is said.
const MISTAKES: &[(&[&str], i32, &str)] = &[
    (
        &["a", "--entity", "absence"],
        11,
        "did you mean `absences`?",
    ),
    (&["a b", "--entity", "absences"], 11, "`incoming`"),
    (
        &["...", "--entity", "absences"],
        11,
        "needs a letter or a digit",
    ),
    (
        &["a", "--entity", "absences", "--schedule", "hourly"],
        11,
        "--schedule: `hourly` is not rate(...)",
    ),
    (
        &["a", "--entity", "absences", "--time-zone", "Mars"],
        11,
        "--time-zone: time zone `Mars`: unknown",
    ),
    (
        &[
            "a",
            "--entity",
            "absences",
            "--filter",
            "date gt '2026-01-01'",
        ],
        11,
        "`gt` is not an operator",
    ),
    (
        &["a", "--entity", "absences", "--transform", ".query["],
        11,
        "`transform`",
    ),
    (
        &["a", "--entity", "activity-definitions/usages"],
        11,
        "structureVersionId",
    ),
    (&["a"], 2, "`--entity` is missing"),
];

#[test]
fn mistakes_are_named_and_the_file_stays_as_it_was() {
    let folder = Folder::with_connections("mistakes");
    let before = folder.text();
    let client = ["--client", "protime/acme"];
    for &(arguments, code, words) in MISTAKES {
        let (document, found) = folder.connection(arguments, &[&client[..], &["--yes"]].concat());
        assert_eq!(found, code, "{arguments:?}: {document:#}");
        assert!(
            message(&document).contains(words),
            "{arguments:?}: {document:#}"
        );
        assert_eq!(folder.text(), before, "{arguments:?}");
    }
    let (document, code) = folder.connection(&["a", "--entity", "absences"], &["--yes"]);
    assert_eq!(code, 2);
    assert!(
        message(&document).contains("`--client` is missing"),
        "{document:#}"
    );
    assert_eq!(folder.files(), [folder.connections()]);
}

#[test]
fn nothing_is_written_that_was_not_agreed_to() {
    let folder = Folder::with_connections("agreed");
    let before = folder.text();
    let (document, code) = folder.connection(&ABSENCES, &[]);
    assert_eq!(code, 2);
    assert!(message(&document).contains("--yes"), "{document:#}");
    let dry = [&["new", "connection"][..], &ABSENCES, &["--dry-run"]].concat();
    let output = folder.run(&dry, "");
    let block = String::from_utf8(output.stdout).unwrap();
    assert!(
        block.starts_with("Absences:\n  Type: AWS::Scheduler::Schedule\n"),
        "{block}"
    );
    assert_eq!(folder.text(), before);
}

#[test]
fn a_file_that_is_not_there_is_made() {
    let folder = Folder::new("made");
    fs::create_dir(folder.0.join("infra")).unwrap();
    let (document, code) = folder.connection(&ABSENCES, &["--yes"]);
    assert_eq!(code, 0, "{document:#}");
    let skeleton = fs::read_to_string(SKELETON).unwrap();
    assert!(folder.text().starts_with(&skeleton));
    let elsewhere = ["--file", "nowhere/connections.yaml", "--yes"];
    let (document, code) = folder.connection(&ABSENCES, &elsewhere);
    assert_eq!(code, 2);
    assert!(message(&document).contains("give --file"), "{document:#}");
}

/// Users append to the shipped template, so it must start like the skeleton.
#[test]
fn what_is_shipped_is_the_skeleton() {
    let (shipped, skeleton) = (fs::read_to_string(SHIPPED), fs::read_to_string(SKELETON));
    assert!(shipped.unwrap().starts_with(&skeleton.unwrap()));
}

#[cfg(unix)]
#[test]
fn a_link_stays_one_and_rights_stay_what_they_were() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = Folder::with_connections("link");
    let (file, link) = (folder.0.join("own.yaml"), folder.connections());
    fs::rename(&link, &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(folder.connection(&ABSENCES, &["--yes"]).1, 0);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o640);
    assert!(fs::read_to_string(&file).unwrap().contains("  Absences:\n"));
}

#[test]
fn an_outgoing_connection_is_a_block_for_the_template() {
    let folder = Folder::new("outgoing");
    let arguments = [
        "new",
        "outgoing",
        "Badges",
        "--client",
        "protime/acme",
        "--method",
        "POST",
        "--entity",
        "clockings",
        "--transform",
        "{payload: .} # it's",
        "--fifo",
    ];
    let (document, code) = folder.json(&arguments);
    assert_eq!(code, 0, "{document:#}");
    let block = document["block"].as_str().unwrap();
    let line = r#"        Outgoing: '{"client": "protime/acme", "method": "POST", "entity": "clockings", "transform": "{payload: .} # it''s"}'"#;
    assert!(block.lines().any(|found| found == line), "{block}");
    assert!(block.contains("        Fifo: \"true\"\n"), "{block}");
    for (arguments, words) in [
        (&["badges"][..], "begins with a capital letter"),
        (
            &["Badges", "--entity", "clocking"],
            "did you mean `clockings`?",
        ),
        (
            &["Badges", "--entity", "people", "--method", "POST"],
            "`method`",
        ),
        (&["Badges", "--transform", ".["], "`transform`"),
    ] {
        let (document, code) = folder.json(&[&["new", "outgoing"], arguments].concat());
        assert_eq!(code, 11, "{document:#}");
        assert!(message(&document).contains(words), "{document:#}");
    }
}

/// The documented example, which other tests deploy, is the output of the command.
#[test]
fn readme_has_the_block_of_an_outgoing_connection() {
    let readme = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../functions/publisher/README.md"
    );
    let readme = fs::read_to_string(readme).unwrap();
    let output = Folder::new("readme").run(
        &[
            "new",
            "outgoing",
            "Badges",
            "--client",
            "protime/acme",
            "--method",
            "POST",
            "--entity",
            "clockings",
            "--fifo",
        ],
        "",
    );
    let block = String::from_utf8(output.stdout).unwrap();
    assert!(readme.contains(&format!("```yaml\n{block}```")), "{block}");
}

const CLIENT: [&str; 9] = [
    "new",
    "client",
    "protime/acme",
    "--base-uri",
    "https://acme.myprotime.eu",
    "--client-id",
    "acme-connector",
    "--scopes",
    "connector-protimeapi-people.read",
];

#[test]
fn a_client_is_checked_before_aws_is_asked_and_its_secret_is_not_shown() {
    let folder = Folder::new("client");
    let canary = "K4n4ry-s3cret";
    let stdin = ["--secret-stdin", "--dry-run", "--json"];
    let output = folder.run(&[&CLIENT[..], &stdin].concat(), &format!("{canary}\n"));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["exitCode"], 0, "{document:#}");
    let documented = "https://authentication.myprotime.eu/tenants/acme/connect/token";
    assert_eq!(document["accessTokenUrl"], documented);
    assert!(!format!("{output:?}").contains(canary), "{output:?}");

    let output = folder.run(&[&CLIENT[..], &["--secret-stdin", "--yes"]].concat(), "\n");
    assert_eq!(output.status.code(), Some(12));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("secret `protime/acme`: field `client_secret`: empty"),
        "{error}"
    );

    let output = folder.run(&[&CLIENT[..], &["--yes"]].concat(), "");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("`--secret-stdin` is missing"), "{error}");
}

#[test]
fn the_token_address_of_an_undocumented_host_is_asked_for() {
    let folder = Folder::new("token");
    let elsewhere = CLIENT.map(|argument| match argument {
        "https://acme.myprotime.eu" => "https://protime.example.com",
        other => other,
    });
    let output = folder.run(
        &[&elsewhere[..], &["--secret-stdin", "--yes"]].concat(),
        "x\n",
    );
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("`--access-token-url` is missing"), "{error}");
}
