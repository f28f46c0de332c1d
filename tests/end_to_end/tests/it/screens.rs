//! What protimectl shows of stacks that are exactly so: stacks of their own, of tables, queues and schedules.

use std::time::Duration;

use connector::store::{Acquired, Attempt, Ending, Pause, RunRecord, RunStatus, StateTable};
use end_to_end::{aws, variable};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::protimectl::{Printed, Protimectl};

/// Waits until a stack is there.
pub(crate) async fn created(cloudformation: &aws_sdk_cloudformation::Client, stack: &str) {
    for _ in 0..100 {
        let described = cloudformation.describe_stacks().stack_name(stack);
        let described = described.send().await.unwrap().stacks.unwrap();
        if described[0].stack_status.as_ref().unwrap().as_str() == "CREATE_COMPLETE" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the stack {stack} is not created");
}

/// A stack without functions.
pub(crate) struct Stack {
    pub(crate) name: String,
    cloudformation: aws_sdk_cloudformation::Client,
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) state: StateTable,
}

impl Stack {
    /// With these schedules, by connection, and queues of that kind.
    pub(crate) async fn new(name: &str, connections: &[&str], is_fifo: bool) -> Self {
        variable("AWS_ENDPOINT_URL");
        let name = format!("{name}-{}", std::process::id());
        let config = aws().load().await;
        let cloudformation = aws_sdk_cloudformation::Client::new(&config);
        let template = template(&name, connections, is_fifo).to_string();
        let create = cloudformation.create_stack().stack_name(&name);
        create.template_body(template).send().await.unwrap();
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        let stack = Self {
            state: StateTable::new(dynamodb, format!("{name}-state")),
            sqs: aws_sdk_sqs::Client::new(&config),
            cloudformation,
            name,
        };
        created(&stack.cloudformation, &stack.name).await;
        stack
    }

    pub(crate) fn protimectl(&self) -> Protimectl {
        Protimectl::on(&self.name)
    }

    fn shows(&self, arguments: &[&str]) -> (String, i32) {
        let Printed {
            stdout,
            stderr,
            code,
        } = self.protimectl().run(arguments);
        assert!(stderr.is_empty(), "{stderr}");
        (stdout, code)
    }

    pub(crate) async fn queue(&self, logical: &str) -> String {
        let found = self.cloudformation.describe_stack_resource();
        let found = found.stack_name(&self.name).logical_resource_id(logical);
        let found = found.send().await.unwrap().stack_resource_detail.unwrap();
        found.physical_resource_id.unwrap()
    }

    /// A run that completed so long ago, of a connection that is stale after so long.
    pub(crate) async fn completed(&self, incoming: &str, hours_ago: i64, fresh_hours: i64) {
        let now = Timestamp::now();
        let ended = now - SignedDuration::from_mins(hours_ago * 60 + 30);
        let run = format!("{incoming}@x");
        let attempt = Attempt::new("request", &run);
        let until = now + SignedDuration::from_mins(1);
        let acquired = self
            .state
            .acquire(incoming, &attempt, now, until, None)
            .await;
        let Acquired::Leased(mut leased) = acquired.unwrap() else {
            panic!("the lease is free");
        };
        let mut history = self.state.history(incoming).await.unwrap();
        history.fresh = Some(SignedDuration::from_hours(fresh_hours));
        history.record(RunRecord {
            run: run.clone(),
            fingerprint: "f".to_owned(),
            scheduled: Some(ended),
            started: ended,
            ended: Some(ended),
            status: RunStatus::Completed,
            counts: connector::store::Counts::default(),
            error: None,
        });
        self.state
            .save_history(&leased.lease, &mut history)
            .await
            .unwrap();
        let ending = Ending {
            now,
            not_before: None,
            progressed: true,
        };
        let state = leased.state.clone();
        self.state
            .hand_over(&mut leased.lease, &state, ending)
            .await
            .unwrap();
    }

    pub(crate) async fn park(&self, number: usize, reason: &str) {
        let text = |value: &str| {
            let value = aws_sdk_sqs::types::MessageAttributeValue::builder()
                .data_type("String")
                .string_value(value);
            value.build().unwrap()
        };
        let queue = self.queue("PublishDeadLetterQueue").await;
        let body = json!({"entity": "clockings", "method": "POST", "payload": {"number": number}});
        let mut send = self
            .sqs
            .send_message()
            .queue_url(&queue)
            .message_body(body.to_string());
        if connector::aws::queue::is_fifo(&queue) {
            send = send
                .message_group_id("group")
                .message_deduplication_id(number.to_string());
        }
        send.message_attributes("reason", text(reason))
            .message_attributes("idempotencyKey", text(&format!("key-{number}")))
            .message_attributes("code", text("BadRequest"))
            .send()
            .await
            .unwrap();
    }

    /// The numbers of the messages in a queue, in their order, which takes them off it.
    pub(crate) async fn taken(&self, logical: &str) -> Vec<u64> {
        let queue = self.queue(logical).await;
        let mut numbers = Vec::new();
        loop {
            let receive = self
                .sqs
                .receive_message()
                .queue_url(&queue)
                .max_number_of_messages(10);
            let messages = receive.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return numbers;
            }
            for message in messages {
                let body: Value = serde_json::from_str(message.body().unwrap()).unwrap();
                numbers.push(body["payload"]["number"].as_u64().unwrap());
                let delete = self.sqs.delete_message().queue_url(&queue);
                delete
                    .receipt_handle(message.receipt_handle().unwrap())
                    .send()
                    .await
                    .unwrap();
            }
        }
    }
}

fn template(name: &str, connections: &[&str], is_fifo: bool) -> Value {
    let mut resources = json!({"StateTable": {"Type": "AWS::DynamoDB::Table", "Properties": {
        "TableName": format!("{name}-state"), "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}, {"AttributeName": "kind", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "GlobalSecondaryIndexes": [{
            "IndexName": "connections", "Projection": {"ProjectionType": "KEYS_ONLY"},
            "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "id", "KeyType": "RANGE"}],
        }],
    }}});
    for queue in [
        "PagesQueue",
        "PublishQueue",
        "PublishDeadLetterQueue",
        "SubscriberFailureQueue",
        "ScheduleDeadLetterQueue",
        "ContinuationQueue",
        "ContinuationDeadLetterQueue",
    ] {
        let properties = if is_fifo && queue.starts_with("Publish") {
            json!({"FifoQueue": true, "QueueName": format!("{name}-{queue}.fifo")})
        } else {
            json!({})
        };
        resources[queue] = json!({"Type": "AWS::SQS::Queue", "Properties": properties});
    }
    for (number, incoming) in connections.iter().enumerate() {
        let input = json!({"incoming": incoming, "client": "protime/acme", "entity": "people"});
        resources[format!("Schedule{number}")] = json!({"Type": "AWS::Scheduler::Schedule", "Properties": {
            "ScheduleExpression": "at(2099-01-01T00:00:00)", "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": "arn:aws:lambda:eu-west-1:000000000000:function:x", "RoleArn": "arn:aws:iam::000000000000:role/x", "Input": input.to_string()},
        }});
    }
    json!({"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_says_how_everything_stands() {
    let connections = ["fresh", "overdue", "paused", "running"];
    let stack = Stack::new("screens-status", &connections, false).await;
    stack.completed("fresh", 3, 26).await;
    stack.completed("overdue", 72, 26).await;
    stack.completed("paused", 3, 26).await;
    stack.completed("running", 3, 26).await;
    let now = Timestamp::now();
    let pause = Pause {
        until: "2099-01-01T00:00:00Z".parse().unwrap(),
        reason: "an upgrade".to_owned(),
    };
    stack.state.pause("paused", Some(&pause)).await.unwrap();
    let attempt = Attempt::new("request", "running@y");
    let until = now + SignedDuration::from_mins(5);
    stack
        .state
        .acquire("running", &attempt, now, until, None)
        .await
        .unwrap();
    stack.park(1, "refused").await;
    stack.park(2, "unknown-outcome").await;
    let (text, code) = stack.shows(&["status"]);
    assert_eq!(code, 0);
    // How far a time in 2099 is off changes every day.
    let in_2099 = |word: &str| word.parse::<u32>().is_ok_and(|days| days > 20_000);
    let words = |line: &str| {
        let words = line
            .split(' ')
            .map(|word| if in_2099(word) { "many" } else { word });
        words.collect::<Vec<_>>().join(" ")
    };
    let stable: Vec<String> = text.lines().map(words).collect();
    let stable = stable.join("\n").replace(&stack.name, "<stack>");
    insta::assert_snapshot!(stable);
    assert_eq!(stack.shows(&["status", "--fail"]).1, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_of_one_reason_are_sent_back_in_their_order() {
    let stack = Stack::new("screens-parked", &[], true).await;
    for number in 0..25 {
        let reason = if number % 5 == 2 {
            "unknown-outcome"
        } else {
            "refused"
        };
        stack.park(number, reason).await;
    }
    let redrive = [
        "parked", "redrive", "--reason", "refused", "--yes", "--json",
    ];
    let (first, code) = stack.shows(&redrive);
    assert_eq!(code, 0, "{first}");
    let sent = stack.taken("PublishQueue").await;
    let refused: Vec<u64> = (0..25).filter(|number| number % 5 != 2).collect();
    assert_eq!(sent, refused);
    let (second, code) = stack.shows(&redrive);
    assert_eq!(code, 0, "{second}");
    assert!(stack.taken("PublishQueue").await.is_empty());
    let left: Vec<u64> = (0..25).filter(|number| number % 5 == 2).collect();
    assert_eq!(stack.taken("PublishDeadLetterQueue").await, left);
}
