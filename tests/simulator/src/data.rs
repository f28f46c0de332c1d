//! Records: made from the catalogue's properties, the same for the same options, kept as JSON text.

use std::fmt::Write;

use bytes::Bytes;
use jiff::ToSpan;
use jiff::civil::Date;
use protime::catalogue::{Entity, Property};
use serde_json::{Value, json};

/// How many records there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) people: u32,
    pub(crate) days: u32,
    pub(crate) seed: u64,
    pub(crate) today: Date,
}

/// The records of one collection. Those made at the start lie in one buffer, separated by commas, so that
/// neighbours can be served as one slice.
#[derive(Default)]
pub(crate) struct Collection {
    base: Bytes,
    pub(crate) records: Vec<Record>,
    pub(crate) changes: Vec<Change>,
}

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) person: Option<i64>,
    pub(crate) date: Option<Date>,
    text: Text,
}

#[derive(Clone)]
enum Text {
    /// From here to there in the buffer.
    Base(usize, usize),
    Own(Bytes),
}

/// What happened to a record, in order.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) deleted: bool,
}

impl Collection {
    /// Records as somebody else wrote them, kept byte for byte.
    pub(crate) fn from_texts<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut collection = Self::default();
        let mut base = String::new();
        for text in texts {
            if !base.is_empty() {
                base.push(',');
            }
            let start = base.len();
            base.push_str(text);
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            collection
                .records
                .push(Record::new(&value, Text::Base(start, base.len())));
        }
        collection.base = base.into();
        collection
    }

    pub(crate) fn generate(entity: &Entity, size: Size) -> Self {
        let mut collection = Self::default();
        let mut base = String::new();
        let shape = Shape::of(entity);
        for (index, row) in rows(entity, size).enumerate() {
            if !base.is_empty() {
                base.push(',');
            }
            let start = base.len();
            shape.write(
                &mut base,
                &Place {
                    index: index as u64 + 1,
                    row,
                    size,
                },
            );
            collection.records.push(Record {
                id: shape.id(index as u64 + 1),
                person: row.person.map(i64::from),
                date: row.date,
                text: Text::Base(start, base.len()),
            });
        }
        collection.base = base.into();
        collection
    }

    pub(crate) fn text(&self, record: &Record) -> Bytes {
        match &record.text {
            Text::Base(start, end) => self.base.slice(*start..*end),
            Text::Own(text) => text.clone(),
        }
    }

    pub(crate) fn value(&self, record: &Record) -> Value {
        serde_json::from_slice(&self.text(record)).unwrap_or_default()
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Record> {
        // Ids of made records count from 1, so most are where their number says.
        let guess = id
            .parse::<usize>()
            .ok()
            .and_then(|id| self.records.get(id.checked_sub(1)?));
        guess
            .filter(|record| record.id == id)
            .or_else(|| self.records.iter().find(|record| record.id == id))
    }

    /// Adds or replaces a record and remembers the change.
    pub(crate) fn put(&mut self, value: &Value) {
        let record = Record::new(value, Text::Own(value.to_string().into()));
        let version = value["changeVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        self.changes.push(Change {
            id: record.id.clone(),
            version,
            deleted: false,
        });
        match self.records.iter_mut().find(|known| known.id == record.id) {
            Some(known) => *known = record,
            None => self.records.push(record),
        }
    }

    pub(crate) fn remove(&mut self, id: &str, version: String) -> bool {
        let before = self.records.len();
        self.records.retain(|record| record.id != id);
        let removed = self.records.len() < before;
        if removed {
            self.changes.push(Change {
                id: id.to_owned(),
                version,
                deleted: true,
            });
        }
        removed
    }

    /// A page's records as few slices, commas between them.
    pub(crate) fn slices(&self, records: &[&Record]) -> Vec<Bytes> {
        let mut slices: Vec<Bytes> = Vec::new();
        let mut open: Option<(usize, usize)> = None;
        let mut push = |slice: Bytes| {
            if !slices.is_empty() {
                slices.push(Bytes::from_static(b","));
            }
            slices.push(slice);
        };
        for record in records {
            match (&record.text, open) {
                (Text::Base(start, end), Some((first, last))) if *start == last + 1 => {
                    open = Some((first, *end));
                }
                (Text::Base(start, end), before) => {
                    if let Some((first, last)) = before {
                        push(self.base.slice(first..last));
                    }
                    open = Some((*start, *end));
                }
                (Text::Own(text), before) => {
                    if let Some((first, last)) = before {
                        push(self.base.slice(first..last));
                    }
                    open = None;
                    push(text.clone());
                }
            }
        }
        if let Some((first, last)) = open {
            push(self.base.slice(first..last));
        }
        slices
    }
}

impl Record {
    fn new(value: &Value, text: Text) -> Self {
        let id = match &value["id"] {
            Value::String(id) => id.clone(),
            Value::Null => String::new(),
            id => id.to_string(),
        };
        let date = value["date"].as_str().or_else(|| value["from"].as_str());
        Self {
            id,
            person: value["person"]["id"].as_i64(),
            date: date.and_then(|date| date.parse().ok()),
            text,
        }
    }
}

/// 20 upper-case hexadecimal digits that rise with every change.
pub(crate) fn change_version(number: u64) -> String {
    format!("{number:020X}")
}

#[derive(Clone, Copy)]
struct Row {
    person: Option<u32>,
    date: Option<Date>,
    /// Counts the records of one person and day.
    turn: u32,
}

/// Who has a record on which day.
fn rows(entity: &Entity, size: Size) -> Box<dyn Iterator<Item = Row>> {
    let has = |name: &str| {
        entity
            .properties
            .iter()
            .any(|property| property.name == name)
    };
    let dated = has("date") || (has("from") && entity.name == "assignments");
    let Size {
        people,
        days,
        today,
        ..
    } = size;
    let undated = move |count: u32| {
        (1..=count).map(|number| Row {
            person: Some(number),
            date: None,
            turn: 0,
        })
    };
    match (has("person.id"), dated) {
        (true, true) => {
            let turns = if entity.name == "clockings" { 2 } else { 1 };
            // Clockings and totals come every day, the rest once a week.
            let step = if entity.name == "clockings" || entity.name == "calculated-totals" {
                1
            } else {
                7
            };
            let days_back = (0..days).step_by(step).rev();
            Box::new(days_back.flat_map(move |back| {
                let date = today.saturating_sub(i64::from(back).days());
                (1..=people).flat_map(move |person| {
                    (0..turns).map(move |turn| Row {
                        person: Some(person),
                        date: Some(date),
                        turn,
                    })
                })
            }))
        }
        _ if entity.name == "people" || has("person.id") => Box::new(undated(people)),
        _ => Box::new(undated(12)),
    }
}

/// A record's properties as a tree: `person.id` is an object, `levels[].id` a list of one.
enum Shape<'a> {
    Leaf(&'a Property),
    Object(Vec<(&'a str, Shape<'a>)>),
    List(Box<Shape<'a>>),
}

/// What the values of one record depend on.
struct Place {
    index: u64,
    row: Row,
    size: Size,
}

impl<'a> Shape<'a> {
    fn of(entity: &'a Entity) -> Self {
        let mut root = Self::Object(Vec::new());
        for property in entity
            .properties
            .iter()
            .filter(|property| !property.name.starts_with('{'))
        {
            root.add(property.name, property);
        }
        root
    }

    fn add(&mut self, path: &'a str, property: &'a Property) {
        let (name, rest) = path
            .split_once('.')
            .map_or((path, None), |(name, rest)| (name, Some(rest)));
        let Self::Object(members) = self else { return };
        let (name, is_list) = name
            .strip_suffix("[]")
            .map_or((name, false), |name| (name, true));
        if !members.iter().any(|(known, _)| *known == name) {
            let empty = Self::Object(Vec::new());
            members.push((
                name,
                match (rest, is_list) {
                    (None, _) => Self::Leaf(property),
                    (Some(_), true) => Self::List(Box::new(empty)),
                    (Some(_), false) => empty,
                },
            ));
        }
        let Some((_, member)) = members.iter_mut().find(|(known, _)| *known == name) else {
            return;
        };
        match (rest, member) {
            (Some(rest), Self::List(item)) => item.add(rest, property),
            (Some(rest), member) => member.add(rest, property),
            (None, _) => {}
        }
    }

    /// Ids are integers, but for those the documentation calls GUIDs.
    fn id(&self, index: u64) -> String {
        let Self::Object(members) = self else {
            return index.to_string();
        };
        match members.iter().find(|(name, _)| *name == "id") {
            Some((_, Self::Leaf(property))) if property.kind.contains("GUID") => guid(index),
            _ => index.to_string(),
        }
    }

    fn write(&self, text: &mut String, place: &Place) {
        match self {
            Self::Leaf(property) => write_value(text, property, place),
            Self::List(item) => {
                text.push('[');
                item.write(text, place);
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (number, (name, member)) in members.iter().enumerate() {
                    if number > 0 {
                        text.push(',');
                    }
                    let _ = write!(text, "\"{name}\":");
                    member.write(text, place);
                }
                text.push('}');
            }
        }
    }
}

const FIRST_NAMES: [&str; 8] = [
    "Anneleen",
    "Björn",
    "Chloé",
    "Daan",
    "Élise",
    "Floris",
    "Gwenaëlle",
    "Hendrik",
];
const LAST_NAMES: [&str; 8] = [
    "Aerts",
    "Bogaerts",
    "Claes",
    "De Smet",
    "Evenepoel",
    "François",
    "van Gogh",
    "Jansen",
];

fn write_value(text: &mut String, property: &Property, place: &Place) {
    let Place { index, row, size } = place;
    let number = mix(size.seed, *index, property.name);
    let person = row.person.unwrap_or(1);
    let pick = |names: &[&'static str]| names[usize::try_from(number).unwrap_or(0) % names.len()];
    let _ = match property.name {
        "id" if property.kind.contains("GUID") => write!(text, "\"{}\"", guid(*index)),
        "id" => write!(text, "{index}"),
        "person.id" => write!(text, "{person}"),
        "changeVersion" => write!(text, "\"{}\"", change_version(*index)),
        "date" | "from" if row.date.is_some() => {
            write!(text, "\"{}\"", row.date.unwrap_or_default())
        }
        "until" => write!(text, "null"),
        "timeOfDayInMinutes" | "calculatedTimeOfDayInMinutes" => {
            write!(
                text,
                "{}",
                480 + 510 * u64::from(row.turn) + mix(size.seed, *index, "") % 15
            )
        }
        "firstName" => write!(text, "\"{}\"", pick(&FIRST_NAMES)),
        "lastName" => write!(text, "\"{}\"", pick(&LAST_NAMES)),
        "employeeNumber" => write!(text, "\"E{person:05}\""),
        "badgeNumber" => write!(text, "\"{person:07}\""),
        "kind" | "status" if !property.values.is_empty() => {
            // The usual value, so that most records are ordinary: the first that is not `Unknown`.
            let usual = property
                .values
                .iter()
                .find(|value| **value != "Unknown")
                .unwrap_or(&"");
            write!(text, "\"{usual}\"")
        }
        _ if !property.values.is_empty() => write!(text, "\"{}\"", pick(&property.values)),
        name => match property.kind {
            "integer" => write!(text, "{}", number % 480 + 1),
            "number" => write!(text, "{}.{}", number % 90, number % 89 + 10),
            "boolean" => write!(text, "{}", number.is_multiple_of(2)),
            "object" => write!(
                text,
                "{{\"en-GB\":\"English {index}\",\"fr-FR\":\"Français {index}\"}}"
            ),
            "array" => write!(text, "[]"),
            "date" => write!(text, "\"{}\"", size.today),
            kind if kind.contains("GUID") => write!(text, "\"{}\"", guid(number % 12 + 1)),
            _ if name.ends_with("Definition.id") => write!(text, "\"{}\"", guid(number % 12 + 1)),
            _ if name.ends_with("Date") => write!(text, "\"2020-0{}-01\"", number % 9 + 1),
            _ => write!(
                text,
                "\"{} {index}\"",
                name.rsplit('.').next().unwrap_or(name)
            ),
        },
    };
}

fn guid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// A number that looks arbitrary and never changes (`SplitMix64`).
fn mix(seed: u64, index: u64, name: &str) -> u64 {
    let name = name.bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut z = (seed ^ name).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The value of an external reference: the field it stands for where there is one, else made from the id.
pub(crate) fn external_reference(collection: &str, reference: &str, id: &str) -> Value {
    let number: u64 = id.parse().unwrap_or(0);
    json!(match (collection, reference) {
        ("people", "@badge-number") => format!("{number:07}"),
        ("people", "@employee-number") => format!("E{number:05}"),
        _ => format!("{}-{id}", reference.trim_start_matches('@')),
    })
}
