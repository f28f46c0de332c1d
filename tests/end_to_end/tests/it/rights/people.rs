//! People with the policies of `infra/operators.yaml`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use aws_sdk_cloudformation::types::{Capability, Parameter};
use end_to_end::{Tenant, aws, variable};
use serde_json::{Value, json};

use crate::protimectl::{Folder, Protimectl};
use crate::screens::created;

fn operators() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../infra/operators.yaml");
    std::fs::read_to_string(path).unwrap()
}

/// The policies of `infra/operators.yaml`, deployed, and people who have them.
pub(super) struct People {
    stack: String,
    profiles: PathBuf,
}

impl People {
    pub(super) async fn new(tenant: &Tenant, folder: &Folder) -> Self {
        let stack = format!("operators-{}", tenant.incoming());
        let cloudformation = aws_sdk_cloudformation::Client::new(&aws().load().await);
        let name = Parameter::builder().parameter_key("StackName");
        let name = name.parameter_value(variable("STACK_NAME")).build();
        let create = cloudformation.create_stack().stack_name(&stack);
        let create = create.template_body(template(&stack)).parameters(name);
        let create = create.capabilities(Capability::CapabilityNamedIam);
        create.send().await.unwrap();
        created(&cloudformation, &stack).await;
        let mut profiles =
            "[profile account]\naws_access_key_id = test\naws_secret_access_key = test\n"
                .to_owned();
        for who in ["viewer", "operator", "reader"] {
            let _ = writeln!(
                profiles,
                "[profile {who}]\nsource_profile = account\nrole_arn = arn:aws:iam::000000000000:role/{stack}-{who}"
            );
        }
        let profiles = folder.write("profiles", &profiles).into();
        Self { stack, profiles }
    }

    pub(super) fn protimectl(&self, who: &'static str) -> Protimectl {
        Protimectl::deployed().with_profile(&self.profiles, who)
    }

    /// The actions that somebody was allowed, so far.
    pub(super) fn used(&self, who: &str) -> BTreeSet<String> {
        let lines = std::fs::read_to_string(variable("LOCAL_AWS_RIGHTS")).unwrap();
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let role = format!("{}-{who}", self.stack);
        let own = lines.filter(|line| line["role"] == role.as_str() && line["allowed"] == true);
        own.map(|line| line["action"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// Those policies, with a role for a viewer, for an operator, and for an operator who reads secrets as well.
fn template(stack: &str) -> String {
    let role = |who: &str, policies: &str, own: &Value| {
        let trust = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"},
        ]});
        format!(
            "  Role{who}:\n    Type: AWS::IAM::Role\n    Properties:\n      RoleName: {stack}-{who}\n      AssumeRolePolicyDocument: {trust}\n      ManagedPolicyArns: {policies}\n      Policies: {own}\n"
        )
    };
    let secrets = json!([{"PolicyName": "secrets", "PolicyDocument": {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*"},
        {"Effect": "Allow", "Action": "sqs:SendMessageBatch", "Resource": "*"},
    ]}}]);
    let both = "[!Ref Viewer, !Ref Operator]";
    let roles = role("viewer", "[!Ref Viewer]", &json!([]))
        + &role("operator", both, &json!([]))
        + &role("reader", both, &secrets);
    // AWS covers the batch by the single one; local AWS asks for both.
    let batch = "sqs:ChangeMessageVisibility, sqs:ChangeMessageVisibilityBatch,";
    let policies = operators().replace("sqs:ChangeMessageVisibility,", batch);
    policies.replace("\nOutputs:", &format!("\n{roles}\nOutputs:"))
}

/// The actions of a policy, as the file has them.
pub(super) fn granted(policy: &str) -> Vec<String> {
    let file = operators();
    let policy = file.split(&format!("\n  {policy}:\n")).nth(1).unwrap();
    let policy = policy.split("\n\n").next().unwrap();
    let actions = policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Action: "));
    let actions = actions.flat_map(|list| list.trim_matches(['[', ']']).split(", "));
    actions.map(str::to_owned).collect()
}
