//! The publish queues and dead-letter queues of the stack, and of the outgoing connections nested in it.

use crate::error::Error;
use crate::queue::Queue;
use crate::stack::Stack;

/// The logical ids of both queues, in `template.yaml` and in `infra/outgoing.yaml`.
const QUEUES: [(&str, &str); 2] = [
    ("PublishQueue", "PublishDeadLetterQueue"),
    ("Queue", "DeadLetterQueue"),
];

#[derive(Debug)]
pub(crate) struct Outgoing {
    /// The stack's name, or the logical id of the nested stack.
    pub(crate) name: String,
    pub(super) publish: Queue,
    pub(crate) parked: Queue,
}

/// All outgoing connections of a stack. One that was deployed as a nested stack alone is found by that stack's own
/// name.
pub(crate) fn find(stack: &Stack) -> Result<Vec<Outgoing>, Error> {
    let queues = stack.queues();
    let mut outgoing = Vec::new();
    for (logical, url) in &queues {
        let (nested, own) = logical.rsplit_once('/').unwrap_or(("", logical));
        let Some((_, parked)) = QUEUES.iter().find(|(publish, _)| *publish == own) else {
            continue;
        };
        let parked = format!("{}{parked}", &logical[..logical.len() - own.len()]);
        if let Some(parked) = queues.get(parked.as_str()) {
            let name = if nested.is_empty() {
                &stack.name
            } else {
                nested
            };
            outgoing.push(Outgoing {
                name: name.to_owned(),
                publish: Queue::new(stack.account.sqs(), url),
                parked: Queue::new(stack.account.sqs(), parked),
            });
        }
    }
    if outgoing.is_empty() {
        let name = &stack.name;
        let problem =
            format!("stack `{name}` has no publish queue; name the connector's stack with --stack");
        return Err(Error::Other(problem));
    }
    Ok(outgoing)
}
