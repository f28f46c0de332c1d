//! Checks the rights of AWS services in the roles, which local AWS does not check. It uses the templates as
//! `CloudFormation` gets them. `tests/end_to_end/roles.py` tries the rights of the functions themselves.

use serde_json::{Value, json};
use template::Template;

/// A template after the SAM transform.
struct Translated(Value);

impl Translated {
    fn all() -> [Self; 3] {
        ["template", "outgoing", "doorbell"].map(|name| Self(Template::translated(name).0))
    }

    fn resources(&self, kind: &str) -> Vec<(&str, &Value)> {
        let resources = self.0["Resources"].as_object().unwrap().iter();
        resources
            .filter(|(_, resource)| resource["Type"] == kind)
            .map(|(name, resource)| (name.as_str(), &resource["Properties"]))
            .collect()
    }

    /// The statements of a role, including those that depend on a parameter.
    fn statements(&self, role: &str) -> Vec<Value> {
        let policies = self.0["Resources"][role]["Properties"]["Policies"]
            .as_array()
            .unwrap();
        let statements = policies
            .iter()
            .flat_map(|policy| policy["PolicyDocument"]["Statement"].as_array().unwrap());
        statements
            .map(|statement| match &statement["Fn::If"] {
                Value::Array(alternatives) => alternatives[1].clone(),
                _ => statement.clone(),
            })
            .collect()
    }

    fn allows(&self, role: &str, action: &str, resource: &Value) -> bool {
        let is = |value: &Value, wanted: &Value| {
            value == wanted || value.as_array().is_some_and(|all| all.contains(wanted))
        };
        self.statements(role).iter().any(|statement| {
            is(&statement["Action"], &json!(action)) && is(&statement["Resource"], resource)
        })
    }

    fn role_of_function(&self, name: &str) -> String {
        let role = &self.0["Resources"][name]["Properties"]["Role"]["Fn::GetAtt"][0];
        role.as_str().unwrap().to_owned()
    }
}

fn arn(name: &str) -> Value {
    json!({"Fn::GetAtt": [name, "Arn"]})
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn lambda_may_read_the_queues_of_the_mappings() {
    let mut mappings = 0;
    for template in Translated::all() {
        for (name, mapping) in template.resources("AWS::Lambda::EventSourceMapping") {
            mappings += 1;
            // The doorbell's reads for the subscriber, which is not its own.
            if mapping["FunctionName"]["Ref"] == "SubscriberArn" {
                continue;
            }
            let role = template.role_of_function(mapping["FunctionName"]["Ref"].as_str().unwrap());
            for action in [
                "ReceiveMessage",
                "DeleteMessage",
                "GetQueueAttributes",
                "ChangeMessageVisibility",
            ] {
                let is_allowed =
                    template.allows(&role, &format!("sqs:{action}"), &mapping["EventSourceArn"]);
                assert!(is_allowed, "{name}: {role} lacks {action}");
            }
        }
    }
    assert_eq!(mappings, 4);
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn what_fails_can_be_put_where_it_belongs() {
    let [template, ..] = Translated::all();
    let destinations = template.resources("AWS::Lambda::EventInvokeConfig");
    assert_eq!(destinations.len(), 1);
    for (name, config) in destinations {
        let role = template.role_of_function(config["FunctionName"]["Ref"].as_str().unwrap());
        let queue = &config["DestinationConfig"]["OnFailure"]["Destination"];
        assert!(template.allows(&role, "sqs:SendMessage", queue), "{name}");
    }
    let schedules = template.resources("AWS::Scheduler::Schedule");
    assert!(schedules.len() >= 2);
    for (name, schedule) in schedules {
        let target = &schedule["Target"];
        let role = target["RoleArn"]["Fn::GetAtt"][0].as_str().unwrap();
        assert!(
            template.allows(role, "lambda:InvokeFunction", &target["Arn"]),
            "{name}"
        );
        let queue = &target["DeadLetterConfig"]["Arn"];
        assert_eq!(queue, &arn("ScheduleDeadLetterQueue"), "{name}");
        assert!(template.allows(role, "sqs:SendMessage", queue), "{name}");
        let trusted = &template.0["Resources"][role]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
            [0];
        assert_eq!(
            trusted["Principal"]["Service"],
            json!(["scheduler.amazonaws.com"]),
            "{name}"
        );
    }
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn lambda_may_write_the_logs() {
    for template in Translated::all() {
        for (name, function) in template.resources("AWS::Lambda::Function") {
            let group = function["LoggingConfig"]["LogGroup"]["Ref"]
                .as_str()
                .unwrap();
            let group = &template.0["Resources"][group]["Properties"]["LogGroupName"]["Fn::Sub"];
            let group = group.as_str().unwrap();
            let resource = format!(
                "arn:${{AWS::Partition}}:logs:${{AWS::Region}}:${{AWS::AccountId}}:log-group:{group}:*"
            );
            for action in ["logs:CreateLogStream", "logs:PutLogEvents"] {
                let is_allowed = template.allows(
                    &template.role_of_function(name),
                    action,
                    &json!({"Fn::Sub": resource}),
                );
                assert!(is_allowed, "{name}: {action}");
            }
        }
    }
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn no_role_names_more_than_one_thing_at_a_time() {
    // These parts are unknown before a deployment: the random end of a secret's name, and the streams of a log group.
    let open_ended = ["secret:${ClientSecretPrefix}*", ":*"];
    let mut statements = 0;
    for template in Translated::all() {
        for (name, _) in template.resources("AWS::IAM::Role") {
            for statement in template.statements(name) {
                statements += 1;
                let shown = statement.to_string();
                for action in statement["Action"]
                    .as_array()
                    .unwrap_or(&vec![statement["Action"].clone()])
                {
                    assert!(!action.as_str().unwrap().contains('*'), "{name}: {shown}");
                }
                let resource = statement["Resource"].to_string().replace("\"}", "");
                let is_open =
                    resource.contains('*') && !open_ended.iter().any(|end| resource.ends_with(end));
                assert!(!is_open, "{name}: {shown}");
            }
        }
    }
    assert!(statements > 20, "{statements}");
}

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn queues_are_encrypted_kept_and_as_large_as_they_can_be() {
    let mut queues = 0;
    for template in Translated::all() {
        for (name, queue) in template.resources("AWS::SQS::Queue") {
            queues += 1;
            let expected = (&json!(true), &json!(1_048_576), &json!(1_209_600));
            let found = (
                &queue["SqsManagedSseEnabled"],
                &queue["MaximumMessageSize"],
                &queue["MessageRetentionPeriod"],
            );
            assert_eq!(found, expected, "{name}");
            let resource = &template.0["Resources"][name];
            let policies = (
                &resource["DeletionPolicy"],
                &resource["UpdateReplacePolicy"],
            );
            assert_eq!(
                policies,
                (&json!("RetainExceptOnCreate"), &json!("Retain")),
                "{name}"
            );
        }
    }
    assert_eq!(queues, 12);
}
