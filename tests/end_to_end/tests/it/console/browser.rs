//! A running console, and its requests: those of a browser, and those that no browser sends.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use regex_lite::Regex;

use crate::protimectl::{Folder, program};

/// The time limit for every wait.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running console, with the secrets that admit a request.
pub(crate) struct Console {
    program: Child,
    /// The host and port, such as `127.0.0.1:40123`.
    pub(crate) authority: String,
    pub(crate) token: String,
    /// The prefix of all pages' paths. Empty until the console is opened.
    pub(crate) base: String,
    pub(crate) cookie: String,
    pub(crate) form: String,
}

/// An answer of the console. The status is 0 if there was none.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of the first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut of_name = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        of_name.next().map(|(_, value)| value)
    }

    /// The first group that a pattern captures in the body.
    pub(crate) fn found(&self, pattern: &str) -> String {
        let found = Regex::new(pattern).unwrap().captures(&self.body);
        let found = found.unwrap_or_else(|| panic!("no {pattern} in {}", self.body));
        found[1].to_owned()
    }
}

impl Console {
    /// Starts a console, and does not open its URL.
    pub(crate) fn start(stack: &str, folder: &Folder, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.arg("console").args(arguments);
        command
            .env("PROTIME_STACK", stack)
            .current_dir(folder.path());
        let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let stdout = program.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("http://");
        let (authority, token) = url.and_then(|url| url.split_once("/?token=")).unwrap();
        Self {
            program,
            authority: authority.to_owned(),
            token: token.to_owned(),
            base: String::new(),
            cookie: String::new(),
            form: String::new(),
        }
    }

    /// Starts a console, and opens its URL.
    pub(crate) fn open(stack: &str, folder: &Folder, arguments: &[&str]) -> Self {
        let mut console = Self::start(stack, folder, arguments);
        let answer = console.send(&format!("GET /?token={}", console.token), &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let cookie = answer.header("set-cookie").unwrap();
        for attribute in ["HttpOnly", "SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        cookie
            .split(';')
            .next()
            .unwrap()
            .clone_into(&mut console.cookie);
        console.base = answer.found("url=(/[0-9a-f]+)/");
        assert!(cookie.contains(&format!("Path={};", console.base)));
        console.form = console.get("/try").found(r#"name="form" value="([^"]+)""#);
        console
    }

    /// Gets a page as a browser does.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let request = format!("GET {}{path}", self.base);
        self.send(&request, &[("Cookie", &self.cookie)], "")
    }

    /// Sends a form of the console's own pages as a browser does.
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("form", self.form.as_str())];
        all.extend(fields);
        let body = encoded(&all);
        let origin = format!("http://{}", self.authority);
        let headers = [
            ("Cookie", self.cookie.as_str()),
            ("Origin", &origin),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        self.send(&format!("POST {}{path}", self.base), &headers, &body)
    }

    /// Sends a request with the right `Host` and these headers.
    pub(crate) fn send(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let host = [("Host", self.authority.as_str())];
        self.raw(request, &[&host, headers].concat(), body)
    }

    /// Sends a request with exactly these headers and `Content-Length`.
    pub(crate) fn raw(&self, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let Ok(mut stream) = TcpStream::connect(&self.authority) else {
            return Answer::default();
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = format!("{request} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
        // The console refuses a body that is too long before it has read all of it. So the write may fail.
        let _ = stream.write_all(text.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Answer {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// The exit status, or `None` while the console runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.program.try_wait().unwrap()
    }

    /// Gets a page until its body contains `what`.
    pub(crate) fn eventually(&self, path: &str, what: &str) -> Answer {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if answer.body.contains(what) {
                return answer;
            }
            assert!(Instant::now() < end, "no {what} in {answer:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The fields as the body of a form, `application/x-www-form-urlencoded`.
pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    let mut encoded = String::new();
    for (name, value) in fields {
        let between = if encoded.is_empty() { "" } else { "&" };
        let _ = write!(encoded, "{between}{}={}", escaped(name), escaped(value));
    }
    encoded
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
