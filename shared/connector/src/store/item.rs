//! Items of `DynamoDB`, as the functions write and read them.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

/// An item, by the names of its attributes.
pub type Item = HashMap<String, AttributeValue>;

/// A string attribute.
pub fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// A number attribute.
pub fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A time, in milliseconds since 1970.
pub fn time(time: Timestamp) -> AttributeValue {
    number(time.as_millisecond())
}

/// An item's number of that name.
pub fn number_of(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// An item's count of that name, 0 if it has none.
pub fn count_of(item: &Item, name: &str) -> u64 {
    number_of(item, name)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// An item's time of that name.
pub fn time_of(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number_of(item, name)?).ok()
}

/// An item's string of that name.
pub fn string_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The item that a condition did not hold for, if that is why the update failed.
pub fn refused_item(error: &SdkError<UpdateItemError>) -> Option<Item> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => {
            Some(refused.item().cloned().unwrap_or_default())
        }
        _ => None,
    }
}
