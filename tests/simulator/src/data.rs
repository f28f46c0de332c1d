//! Records made from the documented properties. The same options make the same records, kept as JSON text.

use std::fmt::Write;

use bytes::Bytes;
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::Value;

use crate::documentation::{Entity, Property};
use crate::references;

/// The numbers that decide how many records are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) people: u32,
    pub(crate) days: u32,
    pub(crate) seed: u64,
    pub(crate) today: Date,
}

/// The records of one collection. Those that were made at the start share one buffer, separated by commas.
/// Neighbours can therefore be sent as one slice.
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
    /// Start and end in the shared buffer.
    Base(usize, usize),
    Own(Bytes),
}

/// One change of a record. A collection keeps its changes in order.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) deleted: bool,
}

impl Collection {
    /// Takes records as they were written, byte for byte.
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

    /// Makes the records of an entity. `name` distinguishes the collections of an entity that has several.
    pub(crate) fn generate(entity: &Entity, name: &str, size: Size) -> Self {
        let mut collection = Self::default();
        let mut base = String::new();
        let category = camel_case(name.trim_end_matches("-histories"));
        let shape = Shape::of(entity, &category);
        for (index, row) in rows(entity, size).enumerate() {
            if !base.is_empty() {
                base.push(',');
            }
            let start = base.len();
            let place = Place {
                entity: &entity.name,
                index: index as u64 + 1,
                row,
                size,
            };
            shape.write_record(&mut base, &place);
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
        // The ids of made records count from 1, so a record is usually at the index that its id gives.
        let guess = id
            .parse::<usize>()
            .ok()
            .and_then(|id| self.records.get(id.checked_sub(1)?));
        guess
            .filter(|record| record.id == id)
            .or_else(|| self.records.iter().find(|record| record.id == id))
    }

    /// Adds or replaces a record and logs the change.
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

    /// The records of a page in few slices, with commas between them.
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

/// A version of 20 upper-case hexadecimal digits, which rises with every change.
pub(crate) fn change_version(number: u64) -> String {
    format!("{number:020X}")
}

#[derive(Clone, Copy)]
struct Row {
    person: Option<u32>,
    date: Option<Date>,
    /// The index among the records of one person and day.
    turn: u32,
}

/// The person and the day of each record.
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

/// The properties of a record as a tree. `person.id` makes an object, `levels[].id` a list with one item.
enum Shape<'a> {
    Leaf(&'a Property),
    Object(Vec<(&'a str, Shape<'a>)>),
    List(Box<Shape<'a>>),
}

/// The values of a record depend on these.
struct Place<'a> {
    entity: &'a str,
    index: u64,
    row: Row,
    size: Size,
}

impl<'a> Shape<'a> {
    /// Historical fields have a property that is named after their category.
    fn of(entity: &'a Entity, category: &'a str) -> Self {
        let mut root = Self::Object(Vec::new());
        for property in &entity.properties {
            match property.name.strip_prefix("{category}.") {
                Some("id") => {
                    let id = Self::Object(vec![("id", Self::Leaf(property))]);
                    if let Self::Object(members) = &mut root {
                        members.push((category, id));
                    }
                }
                _ => root.add(&property.name, property),
            }
        }
        root
    }

    /// Writes one record, without the properties that its kind does not have.
    fn write_record(&self, text: &mut String, place: &Place<'_>) {
        let Self::Object(members) = self else { return };
        text.push('{');
        let mut is_first = true;
        for (name, member) in members {
            if !is_present(place, name) {
                continue;
            }
            if !is_first {
                text.push(',');
            }
            is_first = false;
            let _ = write!(text, "\"{name}\":");
            member.write(text, place);
        }
        text.push('}');
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

    /// An integer, or a GUID where the documentation says so.
    fn id(&self, index: u64) -> String {
        let Self::Object(members) = self else {
            return index.to_string();
        };
        match members.iter().find(|(name, _)| *name == "id") {
            Some((_, Self::Leaf(property))) if property.is_guid() => guid(index),
            _ => index.to_string(),
        }
    }

    fn write(&self, text: &mut String, place: &Place<'_>) {
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

/// The kind of a clocking. Of forty, one has a reason and one an activity.
fn clocking_kind(index: u64) -> &'static str {
    match index % 40 {
        7 => "Reason",
        23 => "Activity",
        _ => "InOut",
    }
}

/// Whether a clocking of this kind has the property. Of twenty-five, one was edited and has its original time.
fn is_present(place: &Place<'_>, property: &str) -> bool {
    let kind = clocking_kind(place.index);
    place.entity != "clockings"
        || match property {
            "reason" | "isOpen" => kind == "Reason",
            "activityLevels" => kind == "Activity",
            "originalTimeOfDayInMinutes" => place.index % 25 == 3,
            _ => true,
        }
}

fn write_value(text: &mut String, property: &Property, place: &Place<'_>) {
    let Place {
        entity,
        index,
        row,
        size,
    } = place;
    let name = property.name.as_str();
    let number = mix(size.seed, *index, name);
    let person = row.person.unwrap_or(1);
    let pick = |from: &[&'static str]| from[usize::try_from(number).unwrap_or(0) % from.len()];
    let values = property.values();
    let _ = match name {
        "id" if property.is_guid() => write!(text, "\"{}\"", guid(*index)),
        "id" => write!(text, "{index}"),
        "person.id" => write!(text, "{person}"),
        "changeVersion" => write!(text, "\"{}\"", change_version(*index)),
        "date" | "from" if row.date.is_some() => {
            write!(text, "\"{}\"", row.date.unwrap_or_default())
        }
        "from" | "activeFrom" | "inServiceDate" => write!(text, "\"2020-0{}-01\"", number % 9 + 1),
        "until" | "activeUntil" | "outOfServiceDate" => write!(text, "null"),
        "periodClosingDate" => write!(text, "\"2019-12-31\""),
        "timeOfDayInMinutes" | "calculatedTimeOfDayInMinutes" => {
            write!(
                text,
                "{}",
                480 + 510 * u64::from(row.turn) + mix(size.seed, *index, "") % 15
            )
        }
        "firstName" => write!(text, "\"{}\"", pick(&FIRST_NAMES)),
        "lastName" => write!(text, "\"{}\"", pick(&LAST_NAMES)),
        "kind" if *entity == "clockings" => write!(text, "\"{}\"", clocking_kind(*index)),
        "kind" | "status" if !values.is_empty() => {
            // Most records are ordinary, so they have the first value that is not `Unknown`.
            let usual = values.iter().find(|value| *value != "Unknown");
            write!(text, "\"{}\"", usual.map_or("", String::as_str))
        }
        _ if property.kind == "array" => match values {
            [_, first, second, ..] => write!(text, "[\"{first}\",\"{second}\"]"),
            _ => write!(text, "[]"),
        },
        _ if !values.is_empty() => {
            let value = &values[usize::try_from(number).unwrap_or(0) % values.len()];
            write!(text, "\"{value}\"")
        }
        _ => match references::field(entity, name, &index.to_string()) {
            Some(reference) => write!(text, "\"{reference}\""),
            None => write_of_type(text, property, number, place),
        },
    };
}

fn write_of_type(
    text: &mut String,
    property: &Property,
    number: u64,
    place: &Place<'_>,
) -> std::fmt::Result {
    let Place { index, size, .. } = place;
    let name = property.name.as_str();
    match property.kind.as_str() {
        "integer" => write!(text, "{}", number % 480 + 1),
        "number" => write!(text, "{}.{}", number % 90, number % 89 + 10),
        "boolean" => write!(text, "{}", number.is_multiple_of(2)),
        "object" => write!(
            text,
            "{{\"en-GB\":\"English {index}\",\"fr-FR\":\"Français {index}\"}}"
        ),
        "date" => write!(text, "\"{}\"", size.today),
        _ if property.is_guid() || name.ends_with("activityDefinition.id") => {
            write!(text, "\"{}\"", guid(number % 12 + 1))
        }
        _ if name.ends_with("Date") => write!(text, "\"2020-0{}-01\"", number % 9 + 1),
        _ => {
            let last = name.rsplit('.').next().unwrap_or(name);
            write!(text, "\"{last} {index}\"")
        }
    }
}

/// The name in a record: `job-category` becomes `jobCategory`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut text, word| {
        let mut letters = word.chars();
        text.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        text + letters.as_str()
    })
}

fn guid(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// A number that looks random but is always the same for the same input (`SplitMix64`).
fn mix(seed: u64, index: u64, name: &str) -> u64 {
    let name = name.bytes().fold(0_u64, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut z = (seed ^ name).wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
