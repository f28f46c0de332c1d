//! Decides whether a record matches a filter.

use serde_json::Value;

use crate::data::{Collection, Record};
use crate::filter::{Condition, Constant, Factor, Filter, Operator};

/// A record whose JSON is parsed only if a filter needs it.
pub(crate) struct Lazy<'a> {
    collection: &'a Collection,
    record: &'a Record,
    value: Option<Value>,
}

impl<'a> Lazy<'a> {
    pub(crate) fn new(collection: &'a Collection, record: &'a Record) -> Self {
        Self {
            collection,
            record,
            value: None,
        }
    }

    /// The property for a field of the filter language.
    fn property(&mut self, field: &str) -> Value {
        let read = || self.collection.value(self.record);
        let value = self.value.get_or_insert_with(read);
        match field {
            "counter-definition" => value["counterDefinition"]["id"].clone(),
            "counter-group" => value["counterGroup"]["id"].clone(),
            "enabled" => value["isEnabled"].clone(),
            "collection-name" => value["collectionName"].clone(),
            field => value[field].clone(),
        }
    }
}

pub(crate) fn matches(filter: &Filter, record: &mut Lazy<'_>) -> bool {
    filter.terms.iter().any(|term| {
        term.iter().all(|condition| match condition {
            Condition::Group(filter) => matches(filter, record),
            Condition::Simple {
                field,
                operator,
                factor,
            } => compare(field, *operator, factor, record),
        })
    })
}

fn compare(field: &str, operator: Operator, factor: &Factor, record: &mut Lazy<'_>) -> bool {
    if field == "date" {
        let Factor::Constant(Constant::Text(text)) = factor else {
            return false;
        };
        let (Some(date), Ok(bound)) = (record.record.date, text.parse()) else {
            return false;
        };
        return match operator {
            Operator::Ge => date >= bound,
            Operator::Le => date <= bound,
            Operator::Eq => date == bound,
            Operator::In => false,
        };
    }
    let value = if field == "person" {
        record.record.person.map_or(Value::Null, Value::from)
    } else {
        record.property(field)
    };
    let equals = |constant: &Constant| match constant {
        Constant::Integer(integer) => value.as_i64() == Some(*integer),
        Constant::Text(text) => value.as_str() == Some(text),
        Constant::Boolean(boolean) => value.as_bool() == Some(*boolean),
    };
    match factor {
        Factor::Constant(constant) => equals(constant),
        Factor::List {
            name: None,
            constants,
        } => constants.iter().any(equals),
        // The documentation does not say who belongs to a circle or group. Here, those whose id ends in the circle's
        // last digit.
        Factor::List {
            name: Some(_),
            constants,
        } => constants
            .iter()
            .any(|constant| match (constant, value.as_i64()) {
                (Constant::Integer(group), Some(id)) => group.rem_euclid(10) == id.rem_euclid(10),
                _ => false,
            }),
    }
}
