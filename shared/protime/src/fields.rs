//! The properties of records that are kept: an allow-list of paths.
//!
//! ```
//! use protime::Fields;
//!
//! let fields = Fields::new(["person.id", "activityLevels[].level"])?;
//! let clocking = r#"{"id": 7, "person": {"id": 1, "name": "Ann"}, "activityLevels": [{"level": 1, "note": ""}]}"#;
//! let kept = r#"{"id": 7,"person": {"id": 1},"activityLevels": [{"level": 1}]}"#;
//! assert_eq!(fields.of_records().select(clocking), kept);
//! # Ok::<(), protime::FieldsError>(())
//! ```

mod select;
mod tree;

use crate::catalogue::{Entity, Property};
use crate::nearest;
pub use select::Selector;
use tree::{ITEMS, Kept, Parts};

/// The properties that identify a record, tell its age and tell whether it is deleted. They are kept whatever the paths
/// are.
pub const ALWAYS_KEPT: [&str; 3] = ["id", "changeVersion", "status"];

/// The object of references. If a request asks for references, Protime adds it beside every `id`
/// (`reference/external-references`).
const EXTERNAL_REFERENCES: &str = "externalReferences";

/// The paths of the properties that are kept: `date`, `person.id`, `activityLevels[].level`. The name of an object or a
/// list keeps it whole.
#[derive(Debug, Clone)]
pub struct Fields {
    /// Sorted and without duplicates.
    paths: Vec<String>,
    record: Parts,
    change: Parts,
}

/// A path that names no property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{path}\": {problem}")]
pub struct FieldsError {
    /// The path as it was given.
    pub path: String,
    /// What is wrong with the path, and what is needed.
    pub problem: &'static str,
}

impl Fields {
    /// Reads and checks the paths.
    pub fn new(paths: impl IntoIterator<Item = impl Into<String>>) -> Result<Self, FieldsError> {
        let mut paths: Vec<String> = paths.into_iter().map(Into::into).collect();
        paths.sort_unstable();
        paths.dedup();
        let mut record = Parts::default();
        for path in &paths {
            record.add(path).map_err(|problem| FieldsError {
                path: path.clone(),
                problem,
            })?;
        }
        for name in ALWAYS_KEPT {
            record.keep(&[name], Kept::Whole);
        }
        // `reference/delta`: {"changeType": ..., "data": <the record>}.
        let mut change = Parts::default();
        for name in ALWAYS_KEPT.into_iter().chain(["changeType"]) {
            change.keep(&[name], Kept::Whole);
        }
        change.keep(&["data"], Kept::Parts(record.clone()));
        Ok(Self {
            paths,
            record,
            change,
        })
    }

    /// The paths, sorted and without duplicates.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// A selector for the records of a list.
    pub fn of_records(&self) -> Selector<'_> {
        Selector::new(&self.record)
    }

    /// A selector for the changes of a delta: it keeps `changeType`, and the paths inside `data`.
    pub fn of_changes(&self) -> Selector<'_> {
        Selector::new(&self.change)
    }

    /// Warnings about paths that the documentation of the entity does not show.
    pub fn warnings(&self, entity: &Entity) -> Vec<String> {
        let unknown = self.paths.iter().filter(|path| !is_known(path, entity));
        unknown.map(|path| warning(path, entity)).collect()
    }
}

fn is_known(path: &str, entity: &Entity) -> bool {
    let is_reference = path
        .split('.')
        .any(|segment| segment == EXTERNAL_REFERENCES);
    let mut properties = entity.properties.iter();
    is_reference
        || entity.properties.is_empty()
        || ALWAYS_KEPT.contains(&path)
        || properties.any(|property| belongs_to(path, property))
}

/// Whether a path is the property, a parent of it, or lies inside a property whose members are not documented.
fn belongs_to(path: &str, property: &Property) -> bool {
    let is_open = matches!(property.kind, "object" | "array");
    let mut wanted = path_steps(path);
    let mut documented = path_steps(property.name);
    loop {
        match (wanted.next(), documented.next()) {
            (None, _) => return true,
            (Some(_), None) => return is_open,
            // Historical fields have names such as `{category}.id`.
            (Some(found), Some(known)) if found == known || known.starts_with('{') => {}
            _ => return false,
        }
    }
}

/// `levels[].id` becomes `levels`, `[]` and `id`.
fn path_steps(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').flat_map(steps)
}

/// `levels[]` becomes `levels` and `[]`.
fn steps(segment: &str) -> impl Iterator<Item = &str> {
    let name = segment.trim_end_matches(ITEMS);
    let lists = (segment.len() - name.len()) / ITEMS.len();
    std::iter::once(name).chain(std::iter::repeat_n(ITEMS, lists))
}

fn warning(path: &str, entity: &Entity) -> String {
    let names = entity.properties.iter().map(|property| property.name);
    let wholes = names
        .clone()
        .filter_map(|name| name.split(['.', '[']).next());
    let meant = nearest(path, names.chain(wholes));
    let name = entity.name;
    match meant {
        Some(meant) => {
            format!("fields, `{path}`: not documented for {name}; did you mean `{meant}`?")
        }
        None => format!(
            "fields, `{path}`: not documented for {name}; it is kept where Protime sends it"
        ),
    }
}
