//! Debian's Chromium, controlled with the `DevTools` protocol over a pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::protimectl::Folder;

const DEBIANS: &str = "/usr/bin/chromium";
const PATIENCE: Duration = Duration::from_mins(1);

/// A browser with one page.
pub(super) struct Chromium {
    program: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    calls: u64,
}

impl Chromium {
    /// Starts the browser. Prints a line and returns `None` if it is not installed.
    pub(super) fn start(folder: &Folder) -> Option<Self> {
        let path = std::env::var("CHROMIUM").unwrap_or_else(|_| DEBIANS.to_owned());
        if !Path::new(&path).exists() {
            println!("NOT TESTED in a browser: there is no {path}.");
            return None;
        }
        // Chromium reads from descriptor 3 and writes to 4. Its sandbox does not work as root. It sees only our own
        // pages.
        let command = "exec \"$0\" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
             --no-first-run --user-data-dir=\"$1\" --remote-debugging-pipe about:blank 3<&0 4>&1 >/dev/null";
        let mut program = Command::new("sh")
            .args(["-c", command, &path])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut chromium = Self {
            to: program.stdin.take().unwrap(),
            from: BufReader::new(program.stdout.take().unwrap()),
            program,
            session: None,
            calls: 0,
        };
        let made = chromium.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = chromium.call("Target.attachToTarget", &attach);
        chromium.session = attached["sessionId"].as_str().map(str::to_owned);
        Some(chromium)
    }

    /// Calls a method of the protocol. Returns its result or its error.
    fn answer(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.calls += 1;
        let mut message = json!({"id": self.calls, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes());
        sent.unwrap();
        loop {
            let mut answer = Vec::new();
            let read = self.from.read_until(0, &mut answer).unwrap();
            assert!(read > 0, "the browser has ended during {method}");
            answer.pop();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.calls {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(format!("{method}: {error}")),
                };
            }
        }
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.answer(method, parameters).unwrap()
    }

    /// The value of an expression in the page. A promise is awaited.
    pub(super) fn evaluate(&mut self, expression: &str) -> Value {
        self.evaluated(expression).unwrap()
    }

    /// As [`Self::evaluate`], but an error if the page goes away meanwhile.
    fn evaluated(&mut self, expression: &str) -> Result<Value, String> {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.answer("Runtime.evaluate", &parameters)?;
        if result["exceptionDetails"].is_null() {
            Ok(result["result"]["value"].clone())
        } else {
            Err(result.to_string())
        }
    }

    pub(super) fn go(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
    }

    /// Waits until the page's `main` element contains a text.
    pub(super) fn sees(&mut self, text: &str) {
        let expression =
            "document.readyState === 'complete' && document.querySelector('main')?.innerText || ''";
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.evaluated(expression).unwrap_or_default();
            let seen = seen.as_str().unwrap_or_default();
            if seen.contains(text) {
                return;
            }
            assert!(Instant::now() < end, "no {text} in {seen}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Moves to a link or button with this text by the Tab key, and presses Enter.
    pub(super) fn chooses(&mut self, text: &str) {
        self.evaluate("document.activeElement.blur()");
        for _ in 0..200 {
            self.press("Tab", 9, "");
            let focused = self.evaluate("document.activeElement.innerText ?? ''");
            if focused.as_str().unwrap_or_default().trim() == text {
                return self.press("Enter", 13, "\r");
            }
        }
        panic!("the keyboard does not reach {text}");
    }

    fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Sets the preferred colour scheme, `light` or `dark`, and the width of the window in pixels.
    pub(super) fn looks_like(&mut self, scheme: &str, width: u32) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"features": features}));
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// A PNG of the whole page, including the part outside the window.
    pub(super) fn picture(&mut self) -> Vec<u8> {
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", &parameters);
        BASE64_STANDARD
            .decode(picture["data"].as_str().unwrap())
            .unwrap()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
