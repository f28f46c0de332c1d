//! Attributes of `DynamoDB` items, as the functions write and read them.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

/// An item: its attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// A string as an attribute value.
pub fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// A number as an attribute value.
pub fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A time as an attribute value, in milliseconds since 1970.
pub fn time(time: Timestamp) -> AttributeValue {
    number(time.as_millisecond())
}

/// The number attribute `name`. None if the item has none.
pub fn number_of(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The count in the attribute `name`; 0 if the item has none.
pub fn count_of(item: &Item, name: &str) -> u64 {
    number_of(item, name)
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// The time attribute `name`. None if the item has none.
pub fn time_of(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number_of(item, name)?).ok()
}

/// The string attribute `name`. None if the item has none.
pub fn string_of<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The item as it was when an update's condition failed. None if the update failed for another reason.
pub fn refused_item(error: &SdkError<UpdateItemError>) -> Option<Item> {
    match error.as_service_error()? {
        UpdateItemError::ConditionalCheckFailedException(refused) => {
            Some(refused.item().cloned().unwrap_or_default())
        }
        _ => None,
    }
}
