//! Checks `infra/doorbell.yaml`, and the example in `functions/doorbell/README.md` that adds it to the stack.

use serde_json::{Value, json};
use template::Template;

fn doorbell() -> Template {
    Template::translated("doorbell")
}

/// The name and properties of the only resource of a type.
fn only<'a>(template: &'a Template, kind: &'a str) -> (&'a str, &'a Value) {
    let found: Vec<_> = template.resources(kind).collect();
    let [one] = found[..] else {
        panic!("{kind}: {found:?}");
    };
    one
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn all_rings_of_ten_seconds_are_one_invocation_of_the_subscriber() {
    let template = doorbell();
    let (name, mapping) = only(&template, "AWS::Lambda::EventSourceMapping");
    let expected = json!({
        "EventSourceArn": {"Fn::GetAtt": ["RingsQueue", "Arn"]},
        "FunctionName": {"Ref": "SubscriberArn"},
        "BatchSize": 1000,
        "MaximumBatchingWindowInSeconds": 10,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 2},
    });
    assert_eq!(mapping, &expected);
    // AWS refuses a mapping of a queue that the role may not read.
    assert_eq!(
        template.0["Resources"][name]["DependsOn"],
        "SubscriberReadsRings"
    );
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn the_subscriber_gets_the_right_to_read_the_rings_and_no_other() {
    let template = doorbell();
    let (_, policy) = only(&template, "AWS::IAM::Policy");
    assert_eq!(policy["Roles"], json!([{"Ref": "SubscriberRole"}]));
    let rights = json!([{
        "Effect": "Allow",
        "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
        "Resource": {"Fn::GetAtt": ["RingsQueue", "Arn"]},
    }]);
    assert_eq!(policy["PolicyDocument"]["Statement"], rights);
}

/// AWS recommends six times the function's timeout plus the batching window.
#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn rings_stay_hidden_for_as_long_as_the_subscriber_may_take() {
    let template = doorbell();
    let stack = Template::load();
    let longest = stack.0["Parameters"]["SubscriberTimeout"]["MaxValue"]
        .as_i64()
        .unwrap();
    let queues: Vec<_> = template.resources("AWS::SQS::Queue").collect();
    let (_, rings) = queues
        .iter()
        .find(|(name, _)| *name == "RingsQueue")
        .unwrap();
    assert_eq!(rings["VisibilityTimeout"], 6 * longest + 10);
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn anybody_may_call_the_url_and_a_flood_is_bounded() {
    let template = doorbell();
    let (name, url) = only(&template, "AWS::Lambda::Url");
    assert_eq!((name, &url["AuthType"]), ("DoorbellUrl", &json!("NONE")));
    assert!(url["Cors"].is_null());
    // Since October 2025 AWS needs both permissions (lambda/latest/dg/urls-auth.html). `lambda:InvokeFunction` is
    // limited to calls by the URL.
    let permissions = template.resources("AWS::Lambda::Permission");
    let mut granted: Vec<_> = permissions
        .map(|(_, it)| {
            let condition = [&it["FunctionUrlAuthType"], &it["InvokedViaFunctionUrl"]];
            (it["Action"].as_str().unwrap(), json!(condition))
        })
        .collect();
    granted.sort_by_key(|(action, _)| *action);
    assert_eq!(
        granted,
        [
            ("lambda:InvokeFunction", json!([null, true])),
            ("lambda:InvokeFunctionUrl", json!(["NONE", null])),
        ]
    );
    let (_, function) = only(&template, "AWS::Lambda::Function");
    let reserved = &function["ReservedConcurrentExecutions"]["Fn::If"];
    let default = &template.0["Parameters"]["Concurrency"]["Default"];
    assert_eq!(
        reserved,
        &json!(["DefaultConcurrency", default, {"Ref": "Concurrency"}])
    );
    let is_default = &template.0["Conditions"]["DefaultConcurrency"]["Fn::Equals"];
    assert_eq!(is_default, &json!([{"Ref": "Concurrency"}, default]));
    assert_eq!(function["LoggingConfig"]["ApplicationLogLevel"], "TRACE");
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn the_example_passes_every_parameter_that_the_stack_knows() {
    let stack = Template::translated("nested");
    let mut nested = stack.resources("AWS::CloudFormation::Stack");
    let (_, properties) = nested.find(|(name, _)| *name == "Doorbell").unwrap();
    let passed = properties["Parameters"].as_object().unwrap();
    let template = Template::load_from("infra/doorbell.yaml");
    let parameters = template.0["Parameters"].as_object().unwrap();
    let missing: Vec<&String> = parameters
        .keys()
        .filter(|name| !passed.contains_key(*name))
        .collect();
    assert_eq!(missing, ["Concurrency"]);
    assert!(passed.keys().all(|name| parameters.contains_key(name)));
}
