//! `infra/connections.yaml`, the user's own template of incoming connections, and its nesting in the stack.

use serde_json::{Value, json};
use template::Template;

fn connections() -> Template {
    Template::translated("connections")
}

/// The name and properties of the only resource of that type.
fn only<'a>(template: &'a Template, kind: &'a str) -> (&'a str, &'a Value) {
    let found: Vec<_> = template.resources(kind).collect();
    let [one] = found[..] else {
        panic!("{kind}: {found:?}");
    };
    one
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn the_role_is_for_the_schedules_of_the_group_and_for_nothing_else() {
    let template = connections();
    let (group, _) = only(&template, "AWS::Scheduler::ScheduleGroup");
    let (_, role) = only(&template, "AWS::IAM::Role");
    // AWS recommends these conditions (Scheduler user guide, "Confused deputy prevention").
    let trust = json!([{
        "Effect": "Allow",
        "Principal": {"Service": "scheduler.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {
            "aws:SourceAccount": {"Ref": "AWS::AccountId"},
            "aws:SourceArn": {"Fn::GetAtt": [group, "Arn"]},
        }},
    }]);
    assert_eq!(role["AssumeRolePolicyDocument"]["Statement"], trust);
    let rights = json!([
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": {"Ref": "SubscriberArn"}},
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Ref": "ScheduleDeadLetterQueueArn"}},
    ]);
    let policies = role["Policies"].as_array().unwrap();
    assert_eq!(policies.len(), 1);
    assert_eq!(policies[0]["PolicyDocument"]["Statement"], rights);
    assert!(role["ManagedPolicyArns"].is_null());
}

/// Two stacks in one account each have a template of connections.
#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn nothing_has_a_name_that_another_stack_could_have() {
    let template = connections();
    let resources = template.0["Resources"].as_object().unwrap();
    for (logical, resource) in resources {
        for name in ["Name", "RoleName"] {
            assert!(resource["Properties"][name].is_null(), "{logical}");
        }
    }
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn the_stack_gives_it_every_parameter() {
    let stack = Template::translated("template");
    let (name, properties) = only(&stack, "AWS::CloudFormation::Stack");
    assert_eq!(name, "Connections");
    let expected = json!({
        "SubscriberArn": {"Fn::GetAtt": ["Subscriber", "Arn"]},
        "ScheduleDeadLetterQueueArn": {"Fn::GetAtt": ["ScheduleDeadLetterQueue", "Arn"]},
        "ClientSecretPrefix": {"Ref": "ClientSecretPrefix"},
        "ScheduleState": {"Ref": "ScheduleState"},
    });
    assert_eq!(properties["Parameters"], expected);
    let template = connections();
    let parameters = template.0["Parameters"].as_object().unwrap().keys();
    for name in parameters {
        assert!(!expected[name].is_null(), "{name}");
    }
}
