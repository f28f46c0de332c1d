//! A fake of `DynamoDB` with exact conditional updates: one table, with the index `connections`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::expression::{Item, Placeholders};

/// `DynamoDB`'s limit for an item.
const MOST_BYTES: usize = 400 * 1024;
/// The index has a new item this much later than the table.
const LAG: Duration = Duration::from_secs(3);
/// The items in a page of a query: so few that a query has several pages.
const PAGE: usize = 2;

#[derive(Default)]
pub(crate) struct DynamoDb {
    pub(crate) items: BTreeMap<String, Item>,
    /// The time from which the index has each item.
    indexed: BTreeMap<String, Instant>,
}

fn error(kind: &str, message: &str) -> (u16, Value) {
    let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
    (400, json!({"__type": kind, "message": message}))
}

impl DynamoDb {
    pub(crate) fn answer(
        &mut self,
        operation: &str,
        request: &Value,
        is_partial: bool,
    ) -> (u16, Value) {
        let id = request["Key"]["id"]["S"].as_str().unwrap_or_default();
        match operation {
            "GetItem" => match self.items.get(id) {
                Some(item) => (200, json!({"Item": item})),
                None => (200, json!({})),
            },
            "UpdateItem" | "DeleteItem" => self.write(operation, id, request),
            "Query" => self.query(request),
            "BatchGetItem" => {
                let (mut responses, mut unprocessed) = (json!({}), json!({}));
                for (table, asked) in request["RequestItems"].as_object().expect("tables") {
                    let keys = asked["Keys"].as_array().expect("keys");
                    // The last key is left for another call, as DynamoDB may do.
                    let now = keys.len() - usize::from(is_partial);
                    let found = keys[..now]
                        .iter()
                        .filter_map(|key| self.items.get(key["id"]["S"].as_str()?));
                    responses[table] = found.cloned().map(Value::Object).collect();
                    if is_partial {
                        unprocessed[table] = asked.clone();
                        unprocessed[table]["Keys"] = keys[now..].into();
                    }
                }
                let answer = json!({"Responses": responses, "UnprocessedKeys": unprocessed});
                (200, answer)
            }
            other => panic!("DynamoDB does not know {other}"),
        }
    }

    fn write(&mut self, operation: &str, id: &str, request: &Value) -> (u16, Value) {
        let placeholders = Placeholders {
            names: &request["ExpressionAttributeNames"],
            values: &request["ExpressionAttributeValues"],
        };
        let known = self.items.get(id);
        let old = known.cloned().unwrap_or_default();
        if let Some(condition) = request["ConditionExpression"].as_str()
            && !placeholders.condition(condition, &old)
        {
            let mut refused = error(
                "ConditionalCheckFailedException",
                "The conditional request failed",
            );
            if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" && known.is_some() {
                refused.1["Item"] = json!(old);
            }
            return refused;
        }
        if operation == "DeleteItem" {
            self.items.remove(id);
            return (200, json!({}));
        }
        let mut item = old;
        item.insert("id".to_owned(), json!({"S": id}));
        let expression = request["UpdateExpression"].as_str().expect("an update");
        let item = match placeholders.update(expression, &item) {
            Ok(item) => item,
            Err(message) => return error("ValidationException", &message),
        };
        if json!(item).to_string().len() > MOST_BYTES {
            return error(
                "ValidationException",
                "Item size to update has exceeded the maximum allowed size",
            );
        }
        let returned = request["ReturnValues"] == "ALL_NEW";
        let answer = if returned {
            json!({"Attributes": item})
        } else {
            json!({})
        };
        self.items.insert(id.to_owned(), item);
        let known = self.indexed.entry(id.to_owned());
        known.or_insert_with(|| Instant::now() + LAG);
        (200, answer)
    }

    /// Answers a query of the index, which has the keys of all items of a kind.
    fn query(&self, request: &Value) -> (u16, Value) {
        let wanted = &request["ExpressionAttributeValues"][":kind"];
        let after = request["ExclusiveStartKey"]["id"]["S"]
            .as_str()
            .unwrap_or_default();
        let is_indexed = |id: &str| {
            self.indexed
                .get(id)
                .is_some_and(|since| *since <= Instant::now())
        };
        let of_kind = self.items.iter().filter(|(id, item)| {
            item.get("kind") == Some(wanted) && is_indexed(id) && id.as_str() > after
        });
        let keys: Vec<Value> = of_kind
            .map(|(id, _)| json!({"id": {"S": id}, "kind": wanted}))
            .collect();
        let mut answer = json!({"Items": keys.iter().take(PAGE).collect::<Vec<_>>()});
        if keys.len() > PAGE {
            answer["LastEvaluatedKey"] = keys[PAGE - 1].clone();
        }
        (200, answer)
    }
}
