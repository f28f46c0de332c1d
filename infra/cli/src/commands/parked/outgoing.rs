//! Where publish requests go, and where they are parked: the stack's own outgoing connection, and those nested in it.

use crate::error::Error;
use crate::queue::Queue;
use crate::stack::Account;

/// The logical ids in `template.yaml`, and in `infra/outgoing.yaml`.
const QUEUES: [(&str, &str); 2] = [
    ("PublishQueue", "PublishDeadLetterQueue"),
    ("Queue", "DeadLetterQueue"),
];

#[derive(Debug)]
pub(super) struct Outgoing {
    /// The stack's name, or that of the resource which is its stack.
    pub(super) name: String,
    pub(super) publish: Queue,
    pub(super) parked: Queue,
}

/// All outgoing connections of a stack. That of a nested stack alone is found by that stack's own name.
pub(super) async fn find(account: &Account, stack: &str) -> Result<Vec<Outgoing>, Error> {
    let cloudformation = aws_sdk_cloudformation::Client::new(&account.config);
    let mut outgoing = Vec::new();
    let mut stacks = vec![(stack.to_owned(), stack.to_owned())];
    while let Some((name, id)) = stacks.pop() {
        let asked = cloudformation.describe_stack_resources().stack_name(&id);
        let answer = asked.send().await.map_err(|error| {
            let what =
                format!("stack `{name}` (another one is named by --stack, its region by --region)");
            Error::aws(what, &error)
        })?;
        let mut queues = Vec::new();
        for found in answer.stack_resources.unwrap_or_default() {
            let (Some(kind), Some(logical), Some(physical)) = (
                found.resource_type,
                found.logical_resource_id,
                found.physical_resource_id,
            ) else {
                continue;
            };
            match kind.as_str() {
                "AWS::CloudFormation::Stack" => stacks.push((logical, physical)),
                "AWS::SQS::Queue" => queues.push((logical, physical)),
                _ => {}
            }
        }
        let queue = |wanted: &str| {
            let found = queues.iter().find(|(logical, _)| logical == wanted);
            found.map(|(_, url)| Queue::new(account.sqs(), url))
        };
        for (publish, parked) in QUEUES {
            if let (Some(publish), Some(parked)) = (queue(publish), queue(parked)) {
                let name = name.clone();
                outgoing.push(Outgoing {
                    name,
                    publish,
                    parked,
                });
            }
        }
    }
    if outgoing.is_empty() {
        return Err(Error::Other(format!(
            "stack `{stack}` has no publish queue; is it this connector's?"
        )));
    }
    Ok(outgoing)
}
