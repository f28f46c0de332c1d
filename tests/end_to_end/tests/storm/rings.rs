//! Rings: each change at Protime makes rings, and SQS delivers all waiting rings to the subscriber in one batch.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::lambda::End;
use crate::sqs::Message;
use crate::world::{MOST_RECEIVES, VISIBILITY, World};

pub(crate) const RINGS: &str = "rings";

impl World {
    /// Rings `delta`, and at every third change `full` too, which reads everything.
    pub(crate) fn ring(&self, change: u32) {
        let mut sqs = self.services.sqs.borrow_mut();
        let full = Some("full").filter(|_| change.is_multiple_of(3));
        for incoming in full.into_iter().chain(["delta"]) {
            sqs.put(RINGS, &json!({"ring": incoming}).to_string());
        }
    }

    /// Delivers the visible messages of the queue of rings, by SQS's rules.
    pub(crate) fn deliver_rings(self: &Rc<Self>) {
        let mut batch = Vec::new();
        loop {
            let received = self.services.sqs.borrow_mut().receive(RINGS, VISIBILITY);
            let Some(message) = received else { break };
            if message.received > MOST_RECEIVES {
                self.services.sqs.borrow_mut().delete(RINGS, &message.id);
            } else {
                batch.push(message);
            }
        }
        let Some(first) = batch.first() else { return };
        let event = json!({"Records": batch.iter().map(record).collect::<Vec<_>>()}).to_string();
        for time in 0..self.deliveries() {
            let request_id = format!("{}-{}-{time}", first.id, first.received);
            let (world, event, batch) = (self.clone(), event.clone(), batch.clone());
            tokio::task::spawn_local(async move {
                if world.invoke(&request_id, &event).await != End::Failed {
                    let mut sqs = world.services.sqs.borrow_mut();
                    for message in &batch {
                        sqs.delete(RINGS, &message.id);
                    }
                }
            });
        }
    }
}

fn record(message: &Message) -> Value {
    json!({
        "messageId": message.id, "receiptHandle": message.id, "body": message.body, "messageAttributes": {},
        "attributes": {"ApproximateReceiveCount": message.received.to_string()},
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:rings", "awsRegion": "eu-west-1",
    })
}
