//! Checks that JSON has the documented members and kinds of values. Its errors are for the person who wrote the JSON.

use std::borrow::Cow;

use protime::nearest;
use serde_json::value::RawValue;

/// A documented member of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    name: &'static str,
    kinds: &'static [Kind],
    required: bool,
}

/// The kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Flag,
    Null,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ShapeError {
    /// The text is not JSON, or not an object.
    Whole(String),
    /// One member is wrong.
    Member {
        name: Cow<'static, str>,
        problem: String,
    },
}

/// A member that may be absent or null.
pub(super) const fn optional(name: &'static str, kinds: &'static [Kind]) -> Member {
    Member {
        name,
        kinds,
        required: false,
    }
}

/// A member that must be present.
pub(super) const fn required(name: &'static str, kinds: &'static [Kind]) -> Member {
    Member {
        name,
        kinds,
        required: true,
    }
}

/// Checks that the text is one object with only these members, and with all required ones.
pub(super) fn check(json: &str, members: &[Member]) -> Result<(), ShapeError> {
    if json.trim().is_empty() {
        return Err(ShapeError::Whole(
            "empty; it needs one JSON object".to_owned(),
        ));
    }
    let value: &RawValue = serde_json::from_str(json)
        .map_err(|error| ShapeError::Whole(format!("not JSON: {}", place(&error))))?;
    let kind = Kind::of(value.get());
    if kind != Kind::Object {
        let found = kind.name();
        return Err(ShapeError::Whole(format!(
            "found {found}; it needs one JSON object"
        )));
    }
    let found: Members<'_> = serde_json::from_str(json)
        .map_err(|error| ShapeError::Whole(format!("not JSON: {}", place(&error))))?;
    for (index, (name, value)) in found.0.iter().enumerate() {
        let wrong = |name: &str, problem| ShapeError::Member {
            name: Cow::Owned(name.to_owned()),
            problem,
        };
        if found.0[..index].iter().any(|(before, _)| before == name) {
            return Err(wrong(name, "given twice".to_owned()));
        }
        let Some(member) = members.iter().find(|member| member.name == name) else {
            return Err(wrong(name, unknown(name, members)));
        };
        let kind = Kind::of(value.get());
        if kind != Kind::Null && !member.kinds.contains(&kind) {
            let needed: Vec<&str> = member.kinds.iter().map(|kind| kind.name()).collect();
            let problem = format!("needs {}; found {}", needed.join(" or "), kind.name());
            return Err(wrong(name, problem));
        }
    }
    let is_there = |member: &Member| {
        let mut found = found.0.iter();
        found.any(|(name, value)| name == member.name && Kind::of(value.get()) != Kind::Null)
    };
    match members
        .iter()
        .find(|member| member.required && !is_there(member))
    {
        Some(member) => Err(ShapeError::Member {
            name: Cow::Borrowed(member.name),
            problem: "missing".to_owned(),
        }),
        None => Ok(()),
    }
}

fn unknown(name: &str, members: &[Member]) -> String {
    let names = || members.iter().map(|member| member.name);
    nearest(name, names()).map_or_else(
        || {
            format!(
                "unknown; allowed: {}",
                names().collect::<Vec<_>>().join(", ")
            )
        },
        |meant| format!("unknown; did you mean `{meant}`?"),
    )
}

/// Where the text stops being JSON. The parser's own message would name Rust types.
fn place(error: &serde_json::Error) -> String {
    let reason = match error.classify() {
        serde_json::error::Category::Eof => "it ends too early",
        _ => "there is an error",
    };
    format!(
        "{reason} at line {}, column {}",
        error.line(),
        error.column()
    )
}

impl Kind {
    fn of(json: &str) -> Self {
        match json.trim_start().as_bytes().first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Flag,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::Null => "null",
        }
    }
}

/// The members of an object in order, including repeated names.
///
/// serde's own maps keep only one of several members with the same name.
pub struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
