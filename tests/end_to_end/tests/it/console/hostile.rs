//! Requests that no page of the console sends. The answers show nothing, and the requests change nothing.

use super::browser::{Answer, Console, encoded};
use super::{POLICY, folder};
use crate::screens::Stack;

/// A request with a form. The console accepts it unless a test changes a part of it.
struct Form<'a> {
    console: &'a Console,
    method: &'a str,
    path: String,
    host: String,
    cookie: Option<String>,
    origin: Option<String>,
    content: &'a str,
    more: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Form<'a> {
    /// The confirmation `yes` of a change.
    fn new(console: &'a Console, yes: &str) -> Self {
        Self {
            console,
            method: "POST",
            path: format!("{}/do", console.base),
            host: console.authority.clone(),
            cookie: Some(console.cookie.clone()),
            origin: Some(format!("http://{}", console.authority)),
            content: "application/x-www-form-urlencoded",
            more: Vec::new(),
            body: encoded(&[("form", &console.form), ("id", yes)]),
        }
    }

    fn send(&self) -> Answer {
        let mut headers = vec![("Host", self.host.as_str()), ("Content-Type", self.content)];
        headers.extend(self.cookie.as_deref().map(|cookie| ("Cookie", cookie)));
        headers.extend(self.origin.as_deref().map(|origin| ("Origin", origin)));
        headers.extend(
            self.more
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let request = format!("{} {}", self.method, self.path);
        self.console.raw(&request, &headers, &self.body)
    }
}

/// A request with its description and the status that refuses it.
type Hostile<'a> = (&'static str, u16, Form<'a>);

impl Form<'_> {
    fn with(self, change: impl FnOnce(&mut Self)) -> Self {
        let mut form = self;
        change(&mut form);
        form
    }
}

/// Reads that reach the console under another name, or lack some of the secrets.
fn reads(console: &Console) -> Vec<Hostile<'_>> {
    let port = console.authority.rsplit(':').next().unwrap();
    let get = || {
        Form::new(console, "").with(|form| {
            form.method = "GET";
            form.path = format!("{}/parked", console.base);
            form.body = String::new();
        })
    };
    let host = |host: &str| get().with(|form| host.clone_into(&mut form.host));
    let path = |path: String| get().with(|form| form.path = path);
    let cookie = |cookie: Option<String>| get().with(|form| form.cookie = cookie);
    let header = |name, value: &str| get().with(|form| form.more = vec![(name, value.to_owned())]);
    let script = path(format!("{}/console.js", console.base));
    let other_name = console.cookie.replace("protimectl", "other");
    vec![
        ("another name", 421, host(&format!("evil.example:{port}"))),
        ("localhost", 421, host(&format!("localhost:{port}"))),
        ("no port", 421, host("127.0.0.1")),
        ("another port", 421, host("127.0.0.1:1")),
        ("two hosts", 421, header("Host", "evil.example")),
        (
            "the whole URL of another host",
            421,
            path(format!("http://evil.example{}/parked", console.base)),
        ),
        ("no cookie", 403, cookie(None)),
        (
            "a wrong cookie",
            403,
            cookie(Some("protimectl=0".to_owned())),
        ),
        ("a cookie of another name", 403, cookie(Some(other_name))),
        (
            "no cookie, a file",
            403,
            script.with(|form| form.cookie = None),
        ),
        (
            "the token again",
            403,
            path(format!("/?token={}", console.token)),
        ),
        ("a wrong token", 403, path("/?token=0123".to_owned())),
        ("no token", 403, path("/".to_owned())),
        (
            "an image of another site",
            403,
            header("Sec-Fetch-Site", "cross-site"),
        ),
        (
            "a page of another port",
            403,
            header("Sec-Fetch-Site", "same-site"),
        ),
    ]
}

/// Confirmations that do not come from the page that asks for them.
fn changes<'a>(console: &'a Console, yes: &str) -> Vec<Hostile<'a>> {
    let form = || Form::new(console, yes);
    let origin = |origin: &str| form().with(|form| form.origin = Some(origin.to_owned()));
    let body = |fields: &[(&str, &str)]| form().with(|form| form.body = encoded(fields));
    let by = |method| form().with(|form| form.method = method);
    let content = |content| form().with(|form| form.content = content);
    let in_url = |form: &mut Form<'a>| {
        form.path = format!("{}?{}", form.path, form.body);
        form.body = String::new();
    };
    let get = |form: &mut Form<'a>| {
        in_url(form);
        form.method = "GET";
    };
    vec![
        (
            "rebinding",
            421,
            form().with(|form| "evil.example".clone_into(&mut form.host)),
        ),
        (
            "a form without a cookie",
            403,
            form().with(|form| form.cookie = None),
        ),
        ("no origin", 403, form().with(|form| form.origin = None)),
        ("another origin", 403, origin("https://evil.example")),
        ("null for an origin", 403, origin("null")),
        (
            "the origin of another port",
            403,
            origin("http://127.0.0.1:1"),
        ),
        (
            "https",
            403,
            origin(&format!("https://{}", console.authority)),
        ),
        ("no form token", 403, body(&[("id", yes)])),
        (
            "a wrong form token",
            403,
            body(&[("form", "0123"), ("id", yes)]),
        ),
        ("the form token in the URL", 403, form().with(in_url)),
        ("GET", 405, form().with(get)),
        ("HEAD", 405, by("HEAD")),
        ("PUT", 405, by("PUT")),
        ("DELETE", 405, by("DELETE")),
        ("OPTIONS, as other sites ask first", 405, by("OPTIONS")),
        ("TRACE", 405, by("TRACE")),
        ("JSON", 415, content("application/json")),
        ("plain text", 415, content("text/plain")),
        (
            "a megabyte",
            413,
            form().with(|form| form.body += &"x".repeat(1_000_000)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_shows_nothing_and_changes_nothing() {
    let stack = Stack::new("console-hostile", &["clockings"], false).await;
    stack.park(1, "refused").await;
    let folder = folder("console-hostile");
    let console = Console::open(&stack.name, &folder, &["--allow-changes"]);
    let ask = console.get("/ask?what=redrive");
    let yes = ask.found("name=\"id\" value=\"([0-9a-f]+)\"");
    let hostile = reads(&console).into_iter().chain(changes(&console, &yes));
    for (what, status, form) in hostile {
        let answer = form.send();
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(
            answer.header("content-security-policy"),
            Some(POLICY),
            "{what}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{what}"
        );
        assert_eq!(
            answer.header("referrer-policy"),
            Some("same-origin"),
            "{what}"
        );
        assert_eq!(answer.header("set-cookie"), None, "{what}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{what}");
        for told in [
            &stack.name,
            "clockings",
            "refused",
            &console.form,
            &console.base,
        ] {
            assert!(
                !answer.body.contains(told),
                "{what} shows {told}: {answer:?}"
            );
        }
    }
    assert!(stack.taken("PublishQueue").await.is_empty());
    // The refused requests have not used up the confirmation.
    assert_eq!(console.post("/do", &[("id", &yes)]).status, 303);
    assert_eq!(stack.taken("PublishQueue").await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_to_a_file() {
    let stack = Stack::new("console-paths", &[], false).await;
    let folder = folder("console-paths");
    let console = Console::open(&stack.name, &folder, &[]);
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/console.css/../../Cargo.toml",
        "//etc/passwd",
        "/message?id=../../etc/passwd",
        "/entity?name=../../etc/passwd",
        "/connection?name=%00",
    ] {
        let answer = console.get(path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.body.contains("root:"), "{path}");
    }
}
