use serde::{Deserialize, Serialize};

/// A failure of matching requests.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Fails only requests with this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Fails only requests whose target (path and query) contains this text.
    #[serde(default)]
    pub target: String,
    /// Fails only requests whose body contains this text.
    #[serde(default)]
    pub body: String,
    /// How many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// How many matching requests fail after those.
    #[serde(default = "once")]
    pub times: u32,
    /// How these requests fail.
    pub action: Action,
}

/// The way in which a request fails.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Another answer; the request has no effect.
    Answer {
        /// The HTTP status of the answer.
        status: u16,
        /// Names and values of the answer's headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body, sent as it is.
        #[serde(default)]
        body: String,
    },
    /// The correct answer, but later.
    Delay {
        /// The delay in milliseconds.
        ms: u64,
    },
    /// The connection breaks before the request has an effect.
    DropBefore,
    /// The connection breaks after the request has its effect, so the answer is lost.
    DropAfter,
    /// The connection breaks after half of the body.
    Truncate,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// Answers requests with that status, `times` times, if their target contains `target`.
    pub fn status(target: &str, status: u16, times: u32) -> Self {
        Self::new(
            target,
            times,
            Action::Answer {
                status,
                headers: Vec::new(),
                body: String::new(),
            },
        )
    }

    /// Applies an action to requests, `times` times, if their target contains `target`.
    pub fn new(target: &str, times: u32, action: Action) -> Self {
        Self {
            method: None,
            target: target.to_owned(),
            body: String::new(),
            skip: 0,
            times,
            action,
        }
    }
}

/// The action of a fault that is due for this request. Counts the request.
pub(crate) fn due(
    faults: &mut Vec<Fault>,
    method: &str,
    target: &str,
    body: &[u8],
) -> Option<Action> {
    let body = String::from_utf8_lossy(body);
    let mut due = None;
    for fault in faults.iter_mut() {
        if fault
            .method
            .as_deref()
            .is_some_and(|wanted| wanted != method)
            || !target.contains(&fault.target)
            || !body.contains(&fault.body)
        {
            continue;
        }
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if fault.times > 0 {
            fault.times -= 1;
            due = Some(fault.action.clone());
            break;
        }
    }
    faults.retain(|fault| fault.times > 0);
    due
}
