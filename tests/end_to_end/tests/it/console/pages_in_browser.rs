//! The console in a real browser, used by the keyboard: a failing connection is mended and run, and a parked message is
//! sent back. axe-core checks every page. `UPDATE_README=1` stores the pictures of the README.

use std::path::{Path, PathBuf};

use end_to_end::{Tenant, eventually, variable};
use serde_json::{Value, json};

use super::browser::Console;
use super::chromium::Chromium;
use super::{NAME, folder, right_client, store_client};
use crate::protimectl::Protimectl;

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra");
const WIDE: u32 = 1_100;
const TELEPHONE: u32 = 360;

/// The script of axe-core: the file that `AXE` names, or the one that `make end-to-end` installs. `None` if it is
/// absent.
fn axe() -> Option<String> {
    let installed = "../../.tools/axe/node_modules/axe-core/axe.min.js";
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(installed);
    let path = std::env::var("AXE").map_or(installed, PathBuf::from);
    let script = std::fs::read_to_string(&path).ok();
    if script.is_none() {
        println!("NOT TESTED by axe-core: there is no {}.", path.display());
    }
    script
}

struct Visitor {
    chromium: Chromium,
    axe: Option<String>,
    looked_at: usize,
}

impl Visitor {
    /// Checks the current page in both colour schemes: axe-core finds nothing, and nothing scrolls sideways, also on a
    /// telephone.
    fn looks(&mut self) {
        for (scheme, width) in [("dark", TELEPHONE), ("light", WIDE)] {
            self.chromium.looks_like(scheme, width);
            let over =
                "document.documentElement.scrollWidth - document.documentElement.clientWidth";
            let title = self.chromium.evaluate("document.title");
            assert_eq!(self.chromium.evaluate(over), 0, "{title} at {width}");
            let Some(axe) = &self.axe else {
                continue;
            };
            self.chromium.evaluate(axe);
            let run = "axe.run().then(found => found.violations.map(of => \
                 `${of.id}: ${of.help}: ${of.nodes.map(node => node.html).join(' ')}`))";
            let violations = self.chromium.evaluate(run);
            assert_eq!(violations, json!([]), "{title}, {scheme}, {width}");
        }
        self.looked_at += 1;
    }

    fn comes_to(&mut self, text: &str) {
        self.chromium.sees(text);
        self.looks();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_story_in_a_browser() {
    let profile = folder("console-chromium");
    let Some(chromium) = Chromium::start(&profile) else {
        return;
    };
    let mut visitor = Visitor {
        chromium,
        axe: axe(),
        looked_at: 0,
    };
    let folder = folder("console-browser");
    let console = Console::start(&variable("STACK_NAME"), &folder, &["--allow-changes"]);
    let tenant = Tenant::new().await;
    reads(&mut visitor, &console, &tenant).await;
    writes(&mut visitor, &tenant).await;
    for (place, text) in [
        ("Try a transformer", "Program (jq)"),
        ("Entities", "clockings"),
        ("clockings", "Properties of a record"),
    ] {
        visitor.chromium.chooses(place);
        visitor.comes_to(text);
    }
    visitor.chromium.chooses("Try a transformer");
    visitor.chromium.sees("Nothing was run yet.");
    visitor.chromium.chooses("Run it");
    visitor.comes_to("\"filter\":");
    Protimectl::deployed().succeeds(&["forget", NAME, "--yes"]);
    assert!(visitor.looked_at >= 14, "{}", visitor.looked_at);
}

/// From a failing connection to a completed run.
async fn reads(visitor: &mut Visitor, console: &Console, tenant: &Tenant) {
    let right = right_client().await;
    let event = json!({"incoming": NAME, "client": "protime/acme", "entity": "people"});
    store_client(&right, Some("another-client")).await;
    // The functions keep an access token until it expires, so a run may still succeed.
    let failed = tenant.invoke(check_of(&event)).await;
    assert!(
        failed.payload.to_string().contains("client"),
        "{}",
        failed.payload
    );
    let failed = tenant.invoke(event.to_string()).await.failed;
    visitor.chromium.looks_like("light", WIDE);
    let url = format!("http://{}/?token={}", console.authority, console.token);
    visitor.chromium.go(&url);
    visitor.comes_to(NAME);
    if failed {
        visitor.chromium.sees("failed");
    }
    visitor.chromium.chooses(NAME);
    visitor.comes_to("Its request");
    visitor.chromium.chooses("Check it now");
    visitor.comes_to("A run would fail.");
    store_client(&right, None).await;
    visitor.chromium.chooses("Check it again");
    visitor.comes_to("A run would go well.");
    visitor.chromium.chooses(NAME);
    visitor.chromium.sees("Its request");
    visitor.chromium.chooses("Preview");
    visitor.comes_to("Show the first records");
    visitor.chromium.chooses("Show the first records");
    visitor.comes_to("changeVersion");
    visitor.chromium.chooses(NAME);
    visitor.chromium.sees("Its request");
    visitor.chromium.chooses("Run now…");
    visitor.comes_to("This will run connection");
    visitor.chromium.chooses("Yes, go on");
    visitor.chromium.sees("was started.");
    // The console's script refreshes the page by itself.
    visitor.chromium.sees("completed\t");
    visitor.looks();
    let run = Protimectl::deployed().succeeds(&["runs", NAME])["runs"][0].clone();
    visitor.chromium.chooses(run["run"].as_str().unwrap());
    visitor.comes_to("Of connection");
}

fn check_of(event: &Value) -> String {
    json!({"check": event}).to_string()
}

/// From a write that Protime refuses to one that it accepts.
async fn writes(visitor: &mut Visitor, tenant: &Tenant) {
    let parked = variable("PUBLISH_DEAD_LETTER_QUEUE_URL");
    tenant.stack.purge(&parked).await;
    let request = json!({
        "client": tenant.client, "method": "POST", "entity": "clockings",
        "payload": {"person": {"id": 21}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"},
    });
    tenant.publish(request).await;
    let protimectl = Protimectl::deployed();
    let messages = || protimectl.succeeds(&["parked"])["parked"][0]["messages"].clone();
    eventually("the parking", || messages()[0].is_object()).await;
    let id = messages()[0]["id"].as_str().unwrap().to_owned();
    visitor.chromium.chooses("Overview");
    visitor.comes_to("1 parked message in the last");
    if std::env::var_os("UPDATE_README").is_some() {
        for scheme in ["light", "dark"] {
            visitor.chromium.looks_like(scheme, WIDE);
            let path = format!("{PICTURES}/console-{scheme}.png");
            std::fs::write(path, visitor.chromium.picture()).unwrap();
        }
    }
    visitor.chromium.chooses("Parked messages");
    visitor.comes_to("there is no such person");
    visitor.chromium.chooses(&id);
    visitor.comes_to("Show the body");
    visitor.chromium.chooses("Show the body");
    visitor.comes_to("timeOfDayInMinutes");
    let person = r#"[{"id": 21}]"#;
    tenant.protime.set_records("people", person).unwrap();
    visitor.chromium.chooses("Send it back…");
    visitor.comes_to("This will send 1 parked message back");
    visitor.chromium.chooses("Yes, go on");
    visitor.comes_to("1 message sent back");
    let written = || {
        let sent = tenant.protime.requests();
        sent.iter()
            .any(|sent| sent.method == "POST" && sent.status == 201)
    };
    eventually("the write", written).await;
}
