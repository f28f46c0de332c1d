//! Placeholders for values that only a deployment knows.

use super::yaml::Node;

const REGION: &str = "eu-west-1";
const ACCOUNT: &str = "123456789012";

/// The value of a pseudo parameter in a stack of that name.
pub(super) fn pseudo_parameter(name: &str, stack: &str) -> Option<String> {
    Some(match name {
        "AWS::Region" => REGION.to_owned(),
        "AWS::AccountId" => ACCOUNT.to_owned(),
        "AWS::StackName" => stack.to_owned(),
        "AWS::StackId" => format!("arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/0"),
        "AWS::Partition" => "aws".to_owned(),
        "AWS::URLSuffix" => "amazonaws.com".to_owned(),
        "AWS::NotificationARNs" | "AWS::NoValue" => String::new(),
        _ => return None,
    })
}

/// A plausible value for a parameter without one.
pub(super) fn parameter(name: &str, declared: &Node) -> String {
    let kind = declared
        .get("Type")
        .and_then(Node::as_str)
        .unwrap_or_default();
    let allowed = declared.get("AllowedValues").map_or(&[][..], Node::items);
    if let Some(first) = allowed.first().and_then(Node::as_str) {
        return first.to_owned();
    }
    if kind == "Number" {
        let least = declared.get("MinValue").and_then(Node::as_str);
        return least.unwrap_or("1").to_owned();
    }
    by_name(name)
}

/// The value of `!Ref` for a resource.
pub(super) fn resource(name: &str, kind: &str) -> Value {
    match kind {
        "AWS::SQS::Queue" => Value::like_the_real_one(queue_url(name)),
        "AWS::SecretsManager::Secret" | "AWS::SNS::Topic" => Value::any(arn(kind, name)),
        _ => Value::any(name.to_owned()),
    }
}

/// The value of `!GetAtt` for a resource.
pub(super) fn attribute(name: &str, kind: &str, attribute: &str) -> Value {
    match (kind, attribute) {
        ("AWS::SQS::Queue", "QueueUrl") => Value::like_the_real_one(queue_url(name)),
        ("AWS::SQS::Queue", "Arn") => Value::like_the_real_one(arn(kind, name)),
        ("AWS::SQS::Queue", "QueueName") => Value::like_the_real_one(name.to_owned()),
        (_, "Arn") => Value::any(arn(kind, name)),
        _ => Value::any(by_name(attribute)),
    }
}

/// A placeholder for a real value.
pub(super) struct Value {
    pub(super) text: String,
    /// Whether a problem with this value is also a problem with the real one.
    pub(super) is_representative: bool,
}

impl Value {
    fn like_the_real_one(text: String) -> Self {
        Self {
            text,
            is_representative: true,
        }
    }

    fn any(text: String) -> Self {
        Self {
            text,
            is_representative: false,
        }
    }
}

fn by_name(name: &str) -> String {
    let lower = name.to_lowercase();
    if lower.contains("arn") {
        arn("AWS::SQS::Queue", "placeholder")
    } else if lower.contains("url") || lower.contains("queue") {
        queue_url("placeholder")
    } else {
        "placeholder".to_owned()
    }
}

fn queue_url(name: &str) -> String {
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
}

fn arn(kind: &str, name: &str) -> String {
    let service = kind.split("::").nth(1).unwrap_or("sqs").to_lowercase();
    format!("arn:aws:{service}:{REGION}:{ACCOUNT}:{name}")
}
