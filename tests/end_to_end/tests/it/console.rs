//! The console: what it shows, what it changes, and which requests it refuses.

mod browser;
mod chromium;
mod hostile;
mod pages_in_browser;

use std::time::{Duration, Instant};

use end_to_end::{Stack as Deployed, aws, variable};
use serde_json::Value;

use self::browser::Console;
use crate::protimectl::{Folder, Protimectl};
use crate::screens::Stack;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const LARGEST_PAGE: usize = 50_000;

fn folder(name: &str) -> Folder {
    Folder::named(&format!("{name}-{}", std::process::id()))
}

/// The paths of all pages, for a stack with this connection.
fn pages(connection: &str) -> Vec<String> {
    let of_connection = [
        format!("/connection?name={connection}"),
        format!("/run?connection={connection}&run={connection}%40x"),
    ];
    let others = ["/", "/parked", "/try", "/entities", "/entity?name=people"];
    let mut pages = others.map(str::to_owned).to_vec();
    pages.extend(of_connection);
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_small_and_runs_nothing_but_its_own() {
    let stack = Stack::new("console-pages", &["fresh"], false).await;
    stack.completed("fresh", 3, 26).await;
    stack.park(1, "refused").await;
    let folder = folder("console-pages");
    let console = Console::open(&stack.name, &folder, &[]);
    let files: usize = ["/console.css", "/console.js", "/icon.svg"]
        .map(|file| console.get(file).body.len())
        .iter()
        .sum();
    for page in pages("fresh") {
        let answer = console.get(&page);
        assert_eq!(answer.status, 200, "{page}: {answer:?}");
        assert!(answer.body.len() + files < LARGEST_PAGE, "{page}");
        assert_eq!(answer.header("content-security-policy"), Some(POLICY));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        for inline in ["<script>", "<style", " style=", " onclick=", "javascript:"] {
            assert!(!answer.body.contains(inline), "{page} has {inline}");
        }
        let elsewhere = answer.body.split("href=\"http").count() - 1;
        let to_documentation = answer
            .body
            .matches("href=\"https://documentation.myprotime.eu/");
        assert_eq!(elsewhere, to_documentation.count(), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_tell_what_the_commands_tell() {
    let stack = Stack::new("console-tells", &["fresh", "overdue"], false).await;
    stack.completed("fresh", 3, 26).await;
    stack.completed("overdue", 72, 26).await;
    stack.park(1, "refused").await;
    let folder = folder("console-tells");
    let console = Console::open(&stack.name, &folder, &[]);

    let overview = console.get("/").body;
    let status = stack.protimectl().succeeds(&["status"]);
    for told in status["connections"].as_array().unwrap() {
        for field in ["incoming", "stands", "note"] {
            let word = told[field].as_str().unwrap();
            assert!(overview.contains(word), "{word} is not in {overview}");
        }
    }
    for chart in ["Records: ", "Longest run: ", "Parked: "] {
        assert!(
            overview.contains(&format!("aria-label=\"{chart}")),
            "{chart}"
        );
    }
    assert!(overview.contains("1 parked message in the last 7 days"));
    assert!(overview.contains("unhealthy"));

    let unknown = console.get("/connection?name=frsh");
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.body.contains("did you mean `fresh`?"),
        "{unknown:?}"
    );
    let run = console.get("/run?connection=fresh&run=fresh%40x").body;
    assert!(run.contains("completed"), "{run}");

    // The console is read-only here: it has neither buttons nor paths for changes.
    let parked = console.get("/parked").body;
    assert!(parked.contains("refused") && !parked.contains("/ask?"));
    assert_eq!(console.get("/ask?what=redrive").status, 404);
    assert_eq!(console.post("/do", &[("id", "1")]).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_shown_and_moved_once_it_is_agreed_to() {
    let stack = Stack::new("console-parked", &[], false).await;
    stack.park(1, "refused").await;
    stack.park(2, "<script>alert(1)</script>").await;
    let folder = folder("console-parked");
    let console = Console::open(&stack.name, &folder, &["--allow-changes"]);

    let all = console.get("/parked").body;
    assert!(!all.contains("<script>alert"), "{all}");
    assert!(all.contains("alert(1)"), "{all}");
    let refused = console.get("/parked?reason=refused");
    assert!(
        refused.body.contains("1 more do not match the filter."),
        "{refused:?}"
    );
    let id = refused.found("/message\\?id=([0-9a-f-]+)");
    let message = format!("/message?id={id}");
    let hidden = console.get(&message).body;
    assert!(
        hidden.contains("key-1") && !hidden.contains("payload"),
        "{hidden}"
    );
    let shown = console.get(&format!("{message}&body=shown")).body;
    assert!(shown.contains("payload"), "{shown}");

    let ask = console.get(&format!("/ask?what=redrive&id={id}"));
    assert!(
        ask.body
            .contains("send 1 parked message back to the publish queue")
    );
    let yes = ask.found("name=\"id\" value=\"([0-9a-f]+)\"");
    let done = console.post("/do", &[("id", &yes)]);
    assert_eq!(done.status, 303, "{done:?}");
    assert_eq!(
        done.header("location"),
        Some(format!("{}/parked", console.base).as_str())
    );
    let after = console.get("/parked").body;
    assert!(
        after.contains("1 message sent back to the publish queue, 1 left."),
        "{after}"
    );
    assert!(!after.contains(&id));
    // A confirmation works only once.
    assert_eq!(console.post("/do", &[("id", &yes)]).status, 400);
    assert_eq!(stack.taken("PublishQueue").await, [1]);

    let ask = console.get("/ask?what=skip");
    let yes = ask.found("name=\"id\" value=\"([0-9a-f]+)\"");
    // A message that was parked after the question stays.
    stack.park(3, "refused").await;
    assert_eq!(console.post("/do", &[("id", &yes)]).status, 303);
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    let [file] = &files[..] else {
        panic!("{files:?}");
    };
    let line = std::fs::read_to_string(file.as_ref().unwrap().path()).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["idempotencyKey"], "key-2");
    assert_eq!(stack.taken("PublishDeadLetterQueue").await, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformer_is_tried_and_its_error_shown_at_its_place() {
    let stack = Stack::new("console-try", &[], false).await;
    let folder = folder("console-try");
    let console = Console::open(&stack.name, &folder, &[]);
    let program = ".query.filter = \"date ge '\\(days(-1))'\"";
    let fields = [
        ("side", "incoming"),
        ("program", program),
        ("input", "{\"path\": {}, \"query\": {}}"),
        ("now", "2026-11-26T12:00:00Z"),
        ("time_zone", "Europe/Brussels"),
    ];
    let answer = console.post("/try", &fields);
    assert!(
        answer.body.contains("date ge &#39;2026-11-25&#39;"),
        "{answer:?}"
    );
    let wrong = [
        ("side", "outgoing"),
        ("program", ".n\r\n| .a + {}"),
        ("input", "{\"n\": {\"a\": 1}}"),
    ];
    let answer = console.post("/try", &wrong);
    assert!(answer.body.contains("line 2, column 3"), "{answer:?}");
    assert!(answer.body.contains("| <mark>.a + {}</mark>"), "{answer:?}");
    assert!(answer.body.contains("aria-invalid=\"true\""));
}

/// Requests of the script that refreshes a page do not keep the console alive: nobody may be looking.
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_once_nobody_has_used_it_for_a_while() {
    let stack = Stack::new("console-idle", &[], false).await;
    let folder = folder("console-idle");
    let mut console = Console::open(&stack.name, &folder, &["--idle", "PT3S"]);
    let in_use = Instant::now() + Duration::from_secs(4);
    while Instant::now() < in_use {
        assert_eq!(console.get("/entities").status, 200);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let end = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = console.ended() {
            break status;
        }
        assert!(Instant::now() < end, "it does not end");
        let base = format!("GET {}/entities", console.base);
        if std::net::TcpStream::connect(&console.authority).is_ok() {
            console.send(
                &base,
                &[("Cookie", &console.cookie), ("X-Refresh", "1")],
                "",
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert!(status.success(), "{status}");
}

/// A connection of the deployed stack.
const NAME: &str = "nested-people";
/// The name of its client's secret.
const CLIENT: &str = "protime/acme";

async fn right_client() -> String {
    let secrets = aws_sdk_secretsmanager::Client::new(&aws().load().await);
    let get = secrets.get_secret_value().secret_id(CLIENT);
    get.send().await.unwrap().secret_string.unwrap()
}

/// Stores the client's secret, with the client id `id` if it is given.
async fn store_client(right: &str, id: Option<&str>) {
    let secrets = aws_sdk_secretsmanager::Client::new(&aws().load().await);
    let mut client: Value = serde_json::from_str(right).unwrap();
    if let Some(id) = id {
        client["client_id"] = id.into();
    }
    let put = secrets.put_secret_value().secret_id(CLIENT);
    put.secret_string(client.to_string()).send().await.unwrap();
}

/// The user finds a failing connection, checks it, mends it and runs it. The stack is the deployed one.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_connection_is_mended_and_run() {
    let deployed = Deployed::of_environment().await;
    let right = right_client().await;
    let folder = folder("console-story");
    let console = Console::open(&variable("STACK_NAME"), &folder, &["--allow-changes"]);
    let page = format!("/connection?name={NAME}");
    assert!(console.get("/").body.contains(NAME));

    store_client(&right, Some("another-client")).await;
    let check = console.post("/check", &[("name", NAME)]);
    let preview = console.post("/preview", &[("name", NAME)]);
    store_client(&right, None).await;
    assert!(check.body.contains("A run would fail."), "{check:?}");
    assert!(check.body.contains("client_id"), "{check:?}");
    assert_eq!(preview.status, 502, "{preview:?}");
    let mended = console.post("/check", &[("name", NAME)]);
    assert!(mended.body.contains("A run would go well."), "{mended:?}");
    let preview = console.post("/preview", &[("name", NAME)]).body;
    assert!(
        preview.contains("/people") && preview.contains("20 records"),
        "{preview}"
    );
    assert!(!preview.contains("changeVersion"), "{preview}");
    let fields = [("name", NAME), ("records", "shown")];
    let preview = console.post("/preview", &fields).body;
    assert!(preview.contains("changeVersion"), "{preview}");

    let ask = console.get(&format!("/ask?what=run&name={NAME}"));
    assert!(
        ask.body
            .contains("run connection <code>nested-people</code> now")
    );
    let yes = ask.found("name=\"id\" value=\"([0-9a-f]+)\"");
    assert_eq!(console.post("/do", &[("id", &yes)]).status, 303);
    let ran = console.eventually(&page, "completed</span>");
    let run = ran.found("/run\\?connection=nested-people&(?:amp;)?run=([^\"]+)\"");
    let run = console
        .get(&format!("/run?connection={NAME}&run={run}"))
        .body;
    assert!(run.contains("<dd>20</dd>"), "{run}");
    let pages = deployed.drain(&variable("PAGES_QUEUE_URL")).await;
    let is_own = |body: &str| body.contains("\"subject\":\"nested-people\"");
    assert!(pages.iter().any(|page| is_own(page.body().unwrap())));
    Protimectl::deployed().succeeds(&["forget", NAME, "--yes"]);
}
