use serde::{Deserialize, Serialize};

/// Something to go wrong with requests that match.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only requests whose target (path and query) has this in it.
    #[serde(default)]
    pub target: String,
    /// Only requests whose body has this in it.
    #[serde(default)]
    pub body: String,
    /// So many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// So many matching requests fail after that.
    #[serde(default = "once")]
    pub times: u32,
    /// What happens to them.
    pub action: Action,
}

/// What goes wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Another answer, and nothing done.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// Its body.
        #[serde(default)]
        body: String,
    },
    /// The right answer, later.
    Delay {
        /// By how much.
        ms: u64,
    },
    /// The connection breaks before anything is done.
    DropBefore,
    /// The connection breaks when the work is done: the answer is lost.
    DropAfter,
    /// Half of the body comes, then the connection breaks.
    Truncate,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// An answer with that status to every request whose target has `target` in it, `times` times.
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

    /// That action for every request whose target has `target` in it, `times` times.
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

/// The action for this request, if a fault is due; counts it.
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
