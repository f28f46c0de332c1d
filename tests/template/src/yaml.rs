//! Parses YAML with the tags of `CloudFormation` to the JSON that `CloudFormation` makes of it.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// Converts the first document of `text`.
pub(crate) fn to_json(text: &str) -> Value {
    let documents = Yaml::load_from_str(text).expect("YAML");
    value(documents.first().expect("a document"))
}

fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(scalar) => self::scalar(scalar),
        Yaml::Sequence(items) => items.iter().map(value).collect(),
        Yaml::Mapping(entries) => {
            let entry = |(key, entry): (&Yaml<'_>, &Yaml<'_>)| {
                let key = key.as_str().expect("a name").to_owned();
                (key, value(entry))
            };
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        Yaml::Tagged(tag, inner) => intrinsic(&tag.suffix, value(inner)),
        Yaml::Representation(text, ..) => Value::String(text.to_string()),
        Yaml::Alias(_) | Yaml::BadValue => panic!("not resolved: {yaml:?}"),
    }
}

fn scalar(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => json!(value),
        Scalar::Integer(value) => json!(value),
        Scalar::FloatingPoint(value) => json!(value.into_inner()),
        Scalar::String(value) => json!(value),
    }
}

/// Converts the short form of an intrinsic function to its long form.
fn intrinsic(tag: &str, argument: Value) -> Value {
    let (name, argument) = match (tag, &argument) {
        ("Ref" | "Condition", _) => (tag.to_owned(), argument),
        ("GetAtt", Value::String(path)) => {
            let parts: Vec<&str> = path.splitn(2, '.').collect();
            ("Fn::GetAtt".to_owned(), json!(parts))
        }
        _ => (format!("Fn::{tag}"), argument),
    };
    json!({ name: argument })
}
