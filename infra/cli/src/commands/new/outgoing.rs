//! `new outgoing`: prints the block of a further outgoing connection, for the user's template.

use connector::contract::outgoing::OutgoingConnection;
use serde_json::{Value, json};

use super::ask::Question;
use super::{check_entity, yaml};
use crate::arguments::NewOutgoing;
use crate::error::Error;
use crate::output::{Report, hint};

pub(super) fn new(arguments: &NewOutgoing) -> Result<Report, Error> {
    let name = Question {
        argument: "NAME",
        prompt: "name of its resource in the template, such as Badges",
        default: None,
    };
    let name = name.answer(arguments.name.as_deref(), check_name)?;
    let outgoing = outgoing(arguments)?;
    OutgoingConnection::from_json(&outgoing)
        .map_err(|error| Error::Connection(error.to_string()))?;
    let fifo = Question {
        argument: "--fifo",
        prompt: "Write the messages of a group in their order (FIFO)?",
        default: None,
    };
    let block = block(&name, &outgoing, fifo.agreed(arguments.fifo)?);
    hint("Put this below `Resources:` of template.yaml; then protimectl check template.yaml.");
    Ok(Report::new(
        json!({"outgoing": name, "block": block}),
        block,
    ))
}

/// The outgoing connection as JSON: what all its messages have in common.
fn outgoing(given: &NewOutgoing) -> Result<String, Error> {
    let optional =
        |argument, prompt, given: &Option<String>, check: fn(&str) -> Result<(), String>| {
            let default = Some(String::new());
            let question = Question {
                argument,
                prompt,
                default,
            };
            let check = |text: &str| if text.is_empty() { Ok(()) } else { check(text) };
            question.answer(given.as_deref(), check)
        };
    let anything = |_: &str| Ok(());
    let fields = [
        (
            "client",
            optional(
                "--client",
                "client, the name of its secret (empty: each message says it)",
                &given.client,
                anything,
            )?,
        ),
        (
            "method",
            optional(
                "--method",
                "method: POST, PUT or DELETE (empty: each message says it)",
                &given.method,
                anything,
            )?,
        ),
        (
            "entity",
            optional(
                "--entity",
                "entity (empty: each message says it)",
                &given.entity,
                check_entity,
            )?,
        ),
        (
            "transform",
            optional(
                "--transform",
                "transformer, a jq program (empty: messages are publish requests)",
                &given.transform,
                anything,
            )?,
        ),
    ];
    let said = fields.iter().filter(|(_, value)| !value.is_empty());
    let members = said.map(|(name, value)| format!("\"{name}\": {}", Value::from(value.as_str())));
    let members = members.collect::<Vec<_>>().join(", ");
    Ok(yaml::written(&format!("{{{members}}}")))
}

fn check_name(name: &str) -> Result<(), String> {
    if !name.is_empty() && name == yaml::logical_id(name) {
        return Ok(());
    }
    Err(format!(
        "`{name}` is not the name of a resource; it begins with a capital letter and has letters and digits only, such as Badges"
    ))
}

/// The block that `functions/publisher/README.md` shows under "A further outgoing connection".
fn block(name: &str, outgoing: &str, fifo: bool) -> String {
    let outgoing = outgoing.replace('\'', "''");
    format!(
        r#"  {name}:
    Type: AWS::Serverless::Application
    Properties:
      Location: infra/outgoing.yaml
      Parameters:
        Outgoing: '{outgoing}'
        Fifo: "{fifo}"
        StateTable: !Ref StateTable
        MetricsNamespace: !Ref AWS::StackName
        AlarmTopic: !If [HasAlarmEmail, !Ref AlarmTopic, ""]
        ClientSecretPrefix: !Ref ClientSecretPrefix
        KmsKeyArn: !Ref KmsKeyArn
        LogLevel: !Ref LogLevel
        Architecture: !Ref Architecture
"#
    )
}
