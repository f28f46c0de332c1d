//! A newcomer's first hour: a wrong connection is found, mended, seen and run, a refused write is repaired and sent back, all
//! with protimectl. infra/cli/README.md has what it prints; `UPDATE_README=1` writes that.

use std::fmt::Write as _;

use end_to_end::{Tenant, eventually, variable};
use jiff::Timestamp;
use regex_lite::{Captures, Regex};
use serde_json::json;
use simulator::Options;

use crate::protimectl::{Folder, Protimectl, masked};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/cli/README.md");
const BEGIN: &str = "<!-- transcript -->\n```console\n";
const END: &str = "```\n<!-- /transcript -->";
/// Everything in Protime happens before this day, everything at AWS after.
const TODAY: &str = "2026-02-20T12:00:00Z";
/// What stands for the ids, in their order.
const IDS: [&str; 3] = [
    "5d1f6b3e-8a42-4c07-9f1e-2b7c90d4e6a1",
    "c8e02f94-17d5-4b6a-8c3d-f05a6e1b9270",
    "9a47d3c0-6b1e-4f85-a2d9-3e8c517f04b6",
];
const CONNECTION: &str = "first-clockings";

/// What was done, and what was printed.
struct Walk {
    protimectl: Protimectl,
    folder: Folder,
    client: String,
    transcript: String,
}

impl Walk {
    fn happens(&mut self, what: &str) {
        let _ = writeln!(self.transcript, "# {what}");
    }

    /// Saves a file, in which `protime/acme` stands for the client, and shows it.
    fn saves(&mut self, name: &str, content: &str) -> String {
        let content = content.replace("protime/acme", &self.client);
        self.folder.write(name, &content);
        let _ = write!(self.transcript, "$ cat {name}\n{content}");
        content
    }

    fn does(&mut self, arguments: &[&str], code: i32) -> String {
        let printed = self.protimectl.run(arguments);
        let shown = printed.stdout + &printed.stderr;
        assert_eq!(printed.code, code, "{arguments:?}: {shown}");
        let _ = write!(
            self.transcript,
            "$ protimectl {}\n{shown}",
            arguments.join(" ")
        );
        shown
    }

    /// With examples in place of what differs from one time to the next.
    fn stable(&self) -> String {
        let masks = [
            (self.client.as_str(), "protime/acme"),
            (
                r"http://[a-z0-9.]+:[0-9]+/000000000000/end-to-end-",
                "https://sqs.eu-west-1.amazonaws.com/123456789012/protime-connector-",
            ),
            (r"http://127\.0\.0\.1:[0-9]+", "https://acme.myprotime.eu"),
            ("simulator-client", "acme-connector"),
            (r"-[0-9A-F]{13}\b", "-1KZQ7X2M9D4VB"),
            (r"\b[0-9]+ s\b", "1 s"),
            // The host and the time are in it.
            (r"\b[0-9]+ bytes", "12167 bytes"),
        ];
        let text = masked(&self.transcript, &masks);
        let time = Regex::new(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]+(\.[0-9]+)?Z").unwrap();
        let text = time.replace_all(&text, |found: &Captures<'_>| {
            let is_of_protime = found[0].parse::<Timestamp>().unwrap() <= TODAY.parse().unwrap();
            let time = if is_of_protime {
                &found[0]
            } else {
                "2026-11-26T09:30:00Z"
            };
            time.to_owned()
        });
        let id = Regex::new(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
        let mut seen: Vec<String> = Vec::new();
        let text = id.replace_all(&text, |found: &Captures<'_>| {
            let known = seen.iter().position(|id| *id == found[0]);
            IDS[known.unwrap_or_else(|| {
                seen.push(found[0].to_owned());
                seen.len() - 1
            })]
        });
        text.into_owned()
    }
}

/// Columns are as wide as what is in them, and that differs.
fn without_columns(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

fn compare_with_readme(transcript: &str) {
    let readme = std::fs::read_to_string(README).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("it has the transcript");
    let (told, after) = rest.split_once(END).expect("the transcript has an end");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(README, format!("{before}{BEGIN}{transcript}{END}{after}")).unwrap();
        return;
    }
    let (told, printed) = (without_columns(told), without_columns(transcript));
    assert_eq!(
        told, printed,
        "UPDATE_README=1 writes what is printed into infra/cli/README.md"
    );
}

async fn protime() -> Tenant {
    let options = Options {
        now: Some(TODAY.parse().unwrap()),
        days: 10,
        ..Options::default()
    };
    let scopes = json!({"scopes": ["connector-protimeapi-clockings.write"]});
    let tenant = Tenant::with(options, &scopes).await;
    let queue = variable("PUBLISH_DEAD_LETTER_QUEUE_URL");
    tenant.stack.purge(&queue).await;
    tenant
}

/// From a file that is wrong to pages in the queue.
async fn reads(walk: &mut Walk, tenant: &Tenant) {
    let wrong = r#"{"incoming": "first-clockings", "client": "protime/acme", "entity": "clocking",
 "query": {"filter": "kind eq 'InOut'"},
 "fields": ["person.id", "date", "timeOfDayInMinutes", "kind"]}
"#;
    walk.saves("clockings.json", wrong);
    walk.does(&["check", "clockings.json"], 11);
    let better = wrong.replace("\"clocking\"", "\"clockings\"");
    walk.saves("clockings.json", &better);
    walk.does(&["check", "clockings.json"], 15);
    walk.happens("The scope is added to the secret.");
    tenant.store_secret().await;
    walk.does(&["check", "clockings.json"], 11);
    let range = "date ge '2026-02-16' and date le '2026-02-17'";
    walk.saves("clockings.json", &better.replace("kind eq 'InOut'", range));
    let checked = walk.does(&["check", "clockings.json"], 0);
    assert!(!checked.contains("skipped"), "{checked}");
    walk.does(&["preview", "clockings.json", "--records", "1"], 0);
    walk.does(&["run", "clockings.json", "--follow", "--yes"], 0);
    let runs = walk.protimectl.succeeds(&["runs", CONNECTION]);
    let run = &runs["runs"][0];
    assert_eq!(run["counts"]["pages"], 1);
    walk.does(&["runs", CONNECTION], 0);
    walk.does(&["runs", CONNECTION, run["run"].as_str().unwrap()], 0);
}

/// From a write that Protime refuses to one that it takes.
async fn writes(walk: &mut Walk, tenant: &Tenant) {
    walk.happens("A producer puts this on the publish queue.");
    let request = r#"{"client": "protime/acme", "method": "POST", "entity": "clockings",
 "payload": {"person": {"id": 21}, "date": "2026-02-20", "timeOfDayInMinutes": 510, "kind": "InOut"}}
"#;
    let request = walk.saves("clocking.json", request);
    tenant.publish_text(&request).await;
    let protimectl = walk.protimectl.clone();
    let parked = || protimectl.succeeds(&["parked"])["parked"][0]["messages"].clone();
    eventually("the parking", || parked()[0].is_object()).await;
    walk.does(&["parked"], 0);
    let id = parked()[0]["id"].as_str().unwrap().to_owned();
    walk.does(&["parked", "show", &id], 0);
    walk.happens("The person is added in Protime.");
    tenant
        .protime
        .set_records("people", r#"[{"id": 21}]"#)
        .unwrap();
    let written = || {
        let sent = tenant.protime.requests();
        let sent = sent
            .iter()
            .filter(|sent| sent.method == "POST" && sent.target.ends_with("/clockings"));
        sent.map(|sent| sent.status).collect::<Vec<_>>()
    };
    assert_eq!(written(), [400]);
    walk.does(&["parked", "redrive", "--yes"], 0);
    eventually("the write", || written() == [400, 201]).await;
    walk.does(&["parked"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_needs_no_other_tool() {
    let tenant = protime().await;
    let folder = Folder::new(&tenant);
    let protimectl = Protimectl::deployed().in_folder(folder.path());
    // Of an earlier time on the same stack.
    protimectl.run(&["forget", CONNECTION, "--yes"]);
    let mut walk = Walk {
        protimectl,
        folder,
        client: tenant.client.clone(),
        transcript: String::new(),
    };
    reads(&mut walk, &tenant).await;
    writes(&mut walk, &tenant).await;
    tenant.stack.purge(&variable("PAGES_QUEUE_URL")).await;
    compare_with_readme(&walk.stable());
}
