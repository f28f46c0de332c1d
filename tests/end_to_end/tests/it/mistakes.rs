//! Every mistake gets a sentence that helps. The snapshots are the document: what a person wrote, and what the deployed
//! functions said.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use end_to_end::in_process_subscriber::InProcessSubscriber;
use end_to_end::{Stack, Tenant, attributes, runtime_api, variable};
use serde_json::{Value, json};
use simulator::{Fault, Options, Simulator};
use tokio::time::Instant;

/// What was written, and what was said to it.
#[derive(Default)]
struct Document(String);

impl Document {
    fn title(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}# {title}\n");
    }

    fn row(&mut self, written: &str, said: &[String]) {
        let _ = writeln!(self.0, "{written}");
        for said in said {
            let _ = writeln!(self.0, "    {said}");
        }
    }
}

/// Names that differ from run to run.
struct Names(Vec<(String, &'static str)>);

impl Names {
    fn of(tenant: &Tenant) -> Self {
        let port = |uri: &str| uri.rsplit(':').next().unwrap_or_default().to_owned();
        let (aws, protime) = (variable("AWS_ENDPOINT_URL"), tenant.base_uri.clone());
        let queue = tenant
            .pages
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_owned();
        Self(vec![
            (tenant.client.clone(), "protime/acme"),
            (tenant.incoming(), "test"),
            (queue, "end-to-end-pages"),
            (port(&aws), "AWS"),
            (port(&protime), "PROTIME"),
        ])
    }

    fn hide(&self, text: &str) -> String {
        let hide = |text: String, (name, shown): &(String, &str)| text.replace(name, shown);
        let hidden = self.0.iter().fold(text.to_owned(), hide);
        // The names of roles end as CloudFormation likes.
        let role = hidden.split_once("User: ").and_then(|(before, rest)| {
            let (_, after) = rest.split_once(" is not authorized")?;
            Some(format!("{before}User: ROLE is not authorized{after}"))
        });
        role.unwrap_or(hidden)
    }
}

/// What the functions have logged.
async fn log(stack: &Stack) -> Vec<Value> {
    let lines = stack.log_lines().await;
    let lines = lines.iter().map(|line| serde_json::from_str(line));
    lines.filter_map(Result::ok).collect()
}

/// The warnings of the functions, by what they are about: a connection or a message.
fn warnings(log: &[Value]) -> HashMap<String, Vec<String>> {
    let mut warnings: HashMap<String, Vec<String>> = HashMap::new();
    for line in log {
        let about = line["messageId"].as_str().or(line["incoming"].as_str());
        if let (Some(about), Some(message), "WARN") = (
            about,
            line["message"].as_str(),
            line["level"].as_str().unwrap_or_default(),
        ) {
            // Every connection without `fields` has it; it has tests of its own.
            if message.starts_with("fields: not given") {
                continue;
            }
            let known = warnings.entry(about.to_owned()).or_default();
            known.push(format!("warning: {message}"));
        }
    }
    warnings
}

/// What a connection is answered with.
async fn told(tenant: &Tenant, event: String) -> String {
    let invoked = tenant.invoke(event).await;
    let field = |name: &str| {
        invoked.payload[name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    if invoked.failed {
        format!("{}: {}", field("errorType"), field("errorMessage"))
    } else {
        format!(
            "{}, {} records",
            field("status"),
            invoked.payload["records"]
        )
    }
}

/// Connections as people write them, by what they are about; of people, unless they say something else.
fn connections(tenant: &Tenant) -> Vec<(&'static str, Value)> {
    let mut title = "";
    let mut connections = Vec::new();
    for line in include_str!("inputs/connections.txt").lines() {
        if let Some(next) = line.strip_prefix("# ") {
            title = next;
        } else if !line.is_empty() {
            let line = line.replace("PAGES_QUEUE", &tenant.pages);
            connections.push((title, serde_json::from_str(&line).unwrap()));
        }
    }
    connections
}

const OF_ANOTHER_KIND: [&str; 7] = [
    "[]",
    "7",
    "\"x\"",
    "null",
    "{}",
    "{\"Records\": []}",
    "{\"watch\": false}",
];
const NOT_JSON: [&str; 3] = [
    "clock in",
    "{\"incoming\": \"test\", }",
    "{\"incoming\": \"te",
];

#[tokio::test]
async fn a_connection_that_cannot_be_run_says_why() {
    let tenant = Tenant::new().await;
    let names = Names::of(&tenant);
    let mut number = 0;
    let mut rows = Vec::new();
    for (title, connection) in connections(&tenant) {
        number += 1;
        let incoming = format!("{}-{number}", tenant.incoming());
        let mut event = json!({"incoming": incoming, "client": tenant.client, "queue": tenant.pages, "entity": "people"});
        for (name, value) in connection.as_object().unwrap() {
            event[name] = value.clone();
        }
        let told = told(&tenant, event.to_string()).await;
        rows.push((title, incoming, connection.to_string(), told));
    }
    for event in OF_ANOTHER_KIND.map(str::to_owned) {
        let told = told(&tenant, event.clone()).await;
        rows.push(("Events of another kind", String::new(), event, told));
    }
    // Lambda's own API takes no such event, `cargo lambda invoke --data-ascii` does.
    for event in NOT_JSON {
        let error = runtime_api::failed("SUBSCRIBER_BINARY", event).await;
        let [kind, message] = ["errorType", "errorMessage"].map(|name| error[name].clone());
        let told = format!("{}: {}", kind.as_str().unwrap(), message.as_str().unwrap());
        rows.push((
            "Events that are not JSON",
            String::new(),
            event.to_owned(),
            told,
        ));
    }
    let warnings = warnings(&log(&tenant.stack).await);
    let mut document = Document::default();
    let mut before = "";
    for (title, incoming, shown, told) in rows {
        if title != before {
            document.title(title);
            before = title;
        }
        let numbered = |text: &str| match incoming.as_str() {
            "" => names.hide(text),
            incoming => names.hide(&text.replace(incoming, "test")),
        };
        let mut said = vec![told];
        said.extend(warnings.get(&incoming).cloned().unwrap_or_default());
        let said: Vec<String> = said.iter().map(|text| numbered(text)).collect();
        document.row(&names.hide(&shown), &said);
    }
    insta::assert_snapshot!("connections", document.0);
}

/// Runs a connection with one secret after the other: functions keep a secret for some minutes.
struct Clients {
    tenant: Tenant,
    names: Names,
    number: u32,
}

impl Clients {
    async fn told(&mut self, secret: &str) -> String {
        self.number += 1;
        let (tenant, number) = (&self.tenant, self.number);
        let client = format!("{}-{number}", tenant.client);
        tenant.stack.create_secret(&client, secret).await;
        let filter = "date ge '2026-11-01' and date le '2026-11-30'";
        let event = json!({"incoming": format!("{}-{number}", tenant.incoming()), "client": client,
            "queue": tenant.pages, "entity": "clockings", "query": {"filter": filter}});
        let told = told(tenant, event.to_string()).await;
        self.names.hide(&told.replace(&client, "protime/acme"))
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_used_says_which_field_is_wrong() {
    let tenant = Tenant::new().await;
    let other = Simulator::start(Options::default()).await.unwrap();
    let mut names = Names::of(&tenant);
    names
        .0
        .insert(0, (other.base_uri(), "http://127.0.0.1:OTHER"));
    let mut clients = Clients {
        tenant,
        names,
        number: 0,
    };
    let mut document = Document::default();
    document.title("Fields of the secret");
    for line in include_str!("inputs/clients.txt").lines() {
        let fields = line.replace("http://127.0.0.1:OTHER", &other.base_uri());
        let fields = fields.replace("http://127.0.0.1:PROTIME", &clients.tenant.base_uri);
        // What is no object is the whole secret.
        let secret = match serde_json::from_str::<Value>(&fields) {
            Ok(fields) if fields.is_object() => clients.tenant.secret(&fields),
            _ => fields,
        };
        let told = clients.told(&secret).await;
        document.row(line, &[told]);
    }

    document.title("What Protime or the token endpoint answers");
    let withheld = vec!["connector-protimeapi-clockings.read".to_owned()];
    let few = json!({"scopes": ["connector-protimeapi-clockings.read", "connector-protimeapi-people.read"]});
    for status in [403, 401] {
        clients.tenant.protime.configure(|settings| {
            settings.withheld_scopes.clone_from(&withheld);
            settings.missing_scope_status = status;
        });
        let told = clients.told(&clients.tenant.secret(&few)).await;
        let written = format!("{status}, where the scope was asked for and not granted");
        document.row(&written, &[told]);
    }
    let protime = &clients.tenant.protime;
    protime.configure(|settings| settings.withheld_scopes.clear());
    for line in include_str!("inputs/answers.txt").lines() {
        let (written, fault) = line.split_once(": {").unwrap();
        let fault: Fault = serde_json::from_str(&format!("{{{fault}")).unwrap();
        clients.tenant.protime.add_fault(fault);
        let told = clients.told(&clients.tenant.secret(&json!({}))).await;
        document.row(written, &[told]);
        clients.tenant.protime.clear_faults();
    }
    insta::assert_snapshot!("clients", document.0);
}

/// Publish requests as people write them: what is shown, and the body.
fn publish_requests(client: &str) -> Vec<(String, String)> {
    let payload = json!({"person": {"id": 1}, "date": "2026-11-20", "timeOfDayInMinutes": 510, "kind": "InOut"});
    let request =
        json!({"client": client, "method": "POST", "entity": "clockings", "payload": payload});
    let with = |changes: Value| {
        let mut whole = request.clone();
        for (name, value) in changes.as_object().unwrap() {
            whole[name] = value.clone();
        }
        (changes.to_string(), whole.to_string())
    };
    let paid = |changes: Value| {
        let mut paid = payload.clone();
        for (name, value) in changes.as_object().unwrap() {
            paid[name] = value.clone();
        }
        let mut whole = request.clone();
        whole["payload"] = paid;
        (format!("payload: {changes}"), whole.to_string())
    };
    let whole = |text: &str| (text.to_owned(), text.to_owned());
    vec![
        whole("clock in"),
        whole("{\"client\":"),
        whole("[]"),
        whole("[{}]"),
        whole("7"),
        whole("null"),
        whole("{}"),
        whole("{\"entity\": \"clockings\", \"entity\": \"people\"}"),
        with(json!({"payload": payload.to_string()})),
        with(json!({"payload": null})),
        with(json!({"payload": 7})),
        with(json!({"idempotencyKey": 17})),
        with(json!({"idempotencyKey": ""})),
        with(json!({"idempotency_key": "a"})),
        with(json!({"method": "PATCH"})),
        with(json!({"method": "post"})),
        with(json!({"method": "GET"})),
        with(json!({"method": "PUT"})),
        with(json!({"entity": "clocking"})),
        with(json!({"entity": "webhooks"})),
        with(json!({"method": "DELETE", "entity": "assignments"})),
        with(json!({"method": "PUT", "entity": "assignments", "path": {"ids": 7}})),
        with(json!({"path": [7]})),
        with(json!({"query": "x=1"})),
        with(json!({"query": {"externalreferences": "(people,@badge-number)"}})),
        with(json!({"client": "acme"})),
        with(json!({"client": "protime/nobody"})),
        with(json!({"colour": "red"})),
        with(json!({"Payload": {}})),
        paid(json!({"person": {"id": 999}})),
        paid(json!({"date": "20-11-2026"})),
        paid(json!({"timeOfDayInMinutes": "8:30"})),
        paid(json!({"kind": "Inout"})),
        paid(json!({"timeOfDayInMinutes": 511, "terminl": {"id": 1}, "colour": "red"})),
    ]
}

#[tokio::test]
async fn a_publish_request_that_cannot_be_sent_says_why() {
    let tenant = Tenant::new().await;
    let names = Names::of(&tenant);
    let dead_letters = variable("PUBLISH_DEAD_LETTER_QUEUE_URL");
    tenant.stack.drain(&dead_letters).await;
    // Its producer sends a request once more, and then something else under the same key.
    let clocking = |minutes: u32| {
        let payload = json!({"person": {"id": 2}, "date": "2026-11-20", "timeOfDayInMinutes": minutes, "kind": "InOut"});
        json!({"client": tenant.client, "method": "POST", "entity": "clockings", "idempotencyKey": "k", "payload": payload}).to_string()
    };
    let mut document = Document::default();
    document.title("Publish requests");
    for requests in [
        publish_requests(&tenant.client),
        vec![("idempotencyKey k".to_owned(), clocking(510))],
        vec![("the same once more".to_owned(), clocking(510))],
        vec![(
            "idempotencyKey k, another payload".to_owned(),
            clocking(511),
        )],
    ] {
        let mut ids = Vec::new();
        for (_, body) in &requests {
            ids.push(tenant.publish_text(body).await);
        }
        let mut said = what_became_of(&tenant.stack, &requests, &ids).await;
        for ((shown, _), id) in requests.iter().zip(&ids) {
            let said = said.remove(id).unwrap_or_default();
            let said: Vec<String> = said.iter().map(|text| names.hide(text)).collect();
            document.row(&names.hide(shown), &said);
        }
    }
    document.title("Without a dead-letter queue");
    let deleted = tenant.stack.delete_queue(&dead_letters).await;
    let body = "clock out";
    let id = tenant.publish_text(body).await;
    let told = deferred(&tenant.stack, &id).await;
    document.row(body, &[names.hide(&told)]);
    tenant.stack.create_queue_again(deleted).await;
    let parked = tenant
        .stack
        .receive(&dead_letters, |found| !found.is_empty())
        .await;
    assert_eq!(parked[0].body(), Some(body));
    insta::assert_snapshot!("publish_requests", document.0);
}

/// By id, what is said of each message when all have ended: the reason of a parked one, the log of a written one.
async fn what_became_of(
    stack: &Stack,
    requests: &[(String, String)],
    ids: &[String],
) -> HashMap<String, Vec<String>> {
    let mut parked = HashMap::new();
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        for message in stack
            .drain(&variable("PUBLISH_DEAD_LETTER_QUEUE_URL"))
            .await
        {
            let attributes = attributes(&message);
            let [reason, told, details] = ["reason", "message", "details"]
                .map(|name| attributes.get(name).cloned().unwrap_or_default());
            let told = format!("{reason}: {told} {details}");
            parked.insert(message.body.unwrap_or_default(), told.trim_end().to_owned());
        }
        let mut said = written(&log(stack).await);
        let mut missing = Vec::new();
        for ((_, body), id) in requests.iter().zip(ids) {
            match parked.get(body) {
                Some(told) => drop(said.insert(id.clone(), vec![told.clone()])),
                None if said.contains_key(id) => {}
                None => missing.push(body),
            }
        }
        if missing.is_empty() {
            return said;
        }
        assert!(Instant::now() < end, "nothing became of {missing:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What the publisher has logged of messages that it wrote, the warnings included.
fn written(log: &[Value]) -> HashMap<String, Vec<String>> {
    let mut warnings = warnings(log);
    let mut written = HashMap::new();
    for line in log {
        if let (Some(id), Some(message)) = (line["messageId"].as_str(), line["message"].as_str())
            && message.starts_with("written")
        {
            let mut said = vec![message.to_owned()];
            said.extend(warnings.remove(id).unwrap_or_default());
            written.insert(id.to_owned(), said);
        }
    }
    written
}

/// What the publisher logs of a message that it can neither write nor park.
async fn deferred(stack: &Stack, id: &str) -> String {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let log = log(stack).await;
        let about = log.iter().find(|line| line["messageId"] == json!(id));
        if let Some(line) = about {
            let field = |name: &str| line[name].as_str().unwrap_or_default();
            return format!("{}: {}", field("kind"), field("error"));
        }
        assert!(Instant::now() < end, "nothing was logged of the message");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_range_that_a_program_made_empty_is_a_run_without_a_page() {
    let local = InProcessSubscriber::new(Options::default()).await;
    let program = ".query.filter = \"date ge '\\(days(1))' and date le '\\(today)'\"";
    for window in [Value::Null, json!("P1D")] {
        let connection = json!({"entity": "clockings", "transform": program, "window": window});
        let outcome = local.run(&connection).await.unwrap();
        assert_eq!(
            (&outcome["status"], &outcome["pages"]),
            (&json!("completed"), &json!(0))
        );
        assert!(local.tenant.targets().is_empty(), "Protime is not asked");
        let [completed] = local.tenant.events().await.try_into().unwrap();
        assert_eq!(completed["type"], "protime.run-completed.v1");
        assert_eq!(
            completed["source"],
            format!(
                "{}/connector/protimeapi/api/v1/clockings",
                local.tenant.base_uri
            )
        );
    }
}
