//! The entities and operations of the Protime API, as data.
//!
//! Everything here is read from `catalogue.json`: a new entity is a new row there, not new code. `CONTRIBUTING.md`,
//! "Add an entity", lists what else names an entity.
//!
//! [`Certainty::Inferred`] marks what the documentation suggests without stating it. What the documentation does not
//! show is absent (`None`). Callers can therefore stop on facts and merely warn about the rest.

mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

pub use self::operator::Operator;

/// The most undocumented members that one payload's warnings name.
const MOST_WARNINGS: usize = 5;
/// The most characters of a member's name that a warning shows.
const LONGEST_NAME: usize = 50;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    #[expect(
        clippy::expect_used,
        reason = "the file is part of the binary and parsed by a test"
    )]
    serde_json::from_str(include_str!("../catalogue.json")).expect("catalogue.json is valid")
});

/// Everything that the documentation lists.
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

/// The documented entities, with the rules for their scopes, references and personal data.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    scope_prefix: &'static str,
    predefined_external_references: BTreeMap<&'static str, Vec<&'static str>>,
    /// The criterion by which we mark properties as personal data.
    pub personal: &'static str,
    entities: Vec<Entity>,
}

impl Catalogue {
    /// Every entity, in the order of the documentation.
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// Finds an entity by name, for example `clockings` or `activity-definitions/usages`.
    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name == name)
    }

    /// Finds the operation by method and by the path of a request, below the API's version.
    pub fn operation_at(&self, method: Method, path: &str) -> Option<&Operation> {
        let operations = self.entities.iter().flat_map(|entity| &entity.operations);
        operations
            .filter(|operation| operation.method == method)
            .filter(|operation| {
                let polled = operation.delta_path;
                has_path(operation.path, path) || polled.is_some_and(|polled| polled == path)
            })
            // The path with fewer parameters wins: `/people/contracts` is not the person `contracts`.
            .min_by_key(|operation| operation.path.matches('{').count())
    }

    /// The names of all query parameters that are documented for any operation.
    pub fn query_parameters(&self) -> BTreeSet<&'static str> {
        let operations = self.entities.iter().flat_map(|entity| &entity.operations);
        operations
            .flat_map(|operation| operation.query.iter().copied())
            .collect()
    }

    /// The collections whose external references some operation can return.
    pub fn reference_collections(&self) -> BTreeSet<&'static str> {
        let operations = self.entities.iter().flat_map(|entity| &entity.operations);
        operations
            .flat_map(|operation| operation.external_references.iter().copied())
            .chain(self.predefined_external_references.keys().copied())
            .collect()
    }

    /// The prefix of every scope name: `connector-protimeapi-`.
    pub fn scope_prefix(&self) -> &'static str {
        self.scope_prefix
    }

    /// The predefined external references of a collection, for example `@badge-number` of `people`
    /// (`reference/external-references`). Custom references exist besides these.
    pub fn predefined_external_references(&self, collection: &str) -> &[&'static str] {
        self.predefined_external_references
            .get(collection)
            .map_or(&[], Vec::as_slice)
    }
}

/// Whether a path matches a pattern, segment by segment.
fn has_path(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(known), Some(found)) if known == found || is_parameter(known, found) => {}
            _ => return false,
        }
    }
}

/// Whether a segment of a pattern is a parameter, perhaps with a fixed ending: `{Category}-histories`.
fn is_parameter(known: &str, found: &str) -> bool {
    let ending = known
        .strip_prefix('{')
        .and_then(|rest| rest.split_once('}'));
    ending.is_some_and(|(_, ending)| found.ends_with(ending))
}

/// A collection of the Protime API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    /// The name users give, for example `clockings`.
    pub name: &'static str,
    /// The title of its documentation page.
    pub title: &'static str,
    /// Whether Protime can send webhooks for it.
    pub webhooks: bool,
    /// Its documented and inferred operations.
    pub operations: Vec<Operation>,
    /// The documented properties of one record; nested ones are written `person.id`, lists `levels[].id`.
    pub properties: Vec<Property>,
}

impl Entity {
    /// The operation of that kind, if the entity has it.
    pub fn operation(&self, kind: OperationKind) -> Option<&Operation> {
        self.operations
            .iter()
            .find(|operation| operation.kind == kind)
    }

    /// The names of the properties that are personal data.
    pub fn personal_properties(&self) -> impl Iterator<Item = &'static str> {
        let properties = self.properties.iter();
        let personal = properties.filter(|property| property.personal);
        personal.map(|property| property.name)
    }

    /// The operations with that method. The start of a delta is left out: it is a list with one more flag.
    pub fn with_method(&self, method: Method) -> impl Iterator<Item = &Operation> {
        self.operations.iter().filter(move |operation| {
            operation.method == method && operation.kind != OperationKind::Delta
        })
    }
}

/// An operation that the documentation or the naming rules describe.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// The kind of its documentation page.
    #[serde(rename = "operation")]
    pub kind: OperationKind,
    /// The HTTP method of its requests.
    pub method: Method,
    /// Its path below `/connector/protimeapi/api/v1`, with `{parameters}`.
    pub path: &'static str,
    /// The path at which a started delta is polled, for [`OperationKind::Delta`] only.
    pub delta_path: Option<&'static str>,
    /// The client needs one of these scopes, written without [`Catalogue::scope_prefix`].
    pub scopes: Vec<&'static str>,
    /// Whether the scopes are documented or follow from the naming rule.
    #[serde(default)]
    pub scope_certainty: Certainty,
    /// The fields that a filter may name. `None` if the documentation does not show them.
    #[serde(default)]
    pub filters: Option<Vec<FilterField>>,
    /// The documented query parameters.
    #[serde(default)]
    pub query: Vec<&'static str>,
    /// The allowed values of path parameters that have a closed list.
    #[serde(default)]
    pub path_values: BTreeMap<&'static str, Vec<&'static str>>,
    /// The documented success codes; empty where unknown.
    #[serde(default)]
    pub success: Vec<u16>,
    /// The collections whose external references may be asked for or used in bodies.
    #[serde(default)]
    pub external_references: Vec<&'static str>,
    /// The properties of the request body.
    #[serde(default)]
    pub body: Vec<Property>,
    /// Whether the operation itself is documented.
    #[serde(default)]
    pub certainty: Certainty,
    /// The documentation page, below `https://documentation.myprotime.eu/protimeapi/`.
    pub source: &'static str,
}

impl Operation {
    /// The client needs one of these scopes, written as a token endpoint grants them.
    pub fn needed_scopes(&self) -> Vec<String> {
        let prefix = catalogue().scope_prefix();
        let scopes = self.scopes.iter();
        scopes.map(|scope| format!("{prefix}{scope}")).collect()
    }

    /// The names of the `{parameters}` in the path, in order.
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
    }

    /// Warnings about members that the documentation of the body does not name. Empty if it does not document the body
    /// at all.
    pub fn unknown_members<'m>(&self, members: impl IntoIterator<Item = &'m str>) -> Vec<String> {
        let known: BTreeSet<&str> = self
            .body
            .iter()
            .filter_map(|property| property.name.split(['.', '[']).next())
            .collect();
        if known.is_empty() {
            return Vec::new();
        }
        let mut unknown = members.into_iter().filter(|name| !known.contains(name));
        let mut warnings: Vec<String> = unknown
            .by_ref()
            .take(MOST_WARNINGS)
            .map(|name| {
                let meant = crate::nearest(name, known.iter().copied());
                let shown: String = name.chars().take(LONGEST_NAME).collect();
                meant.map_or_else(
                    || format!("payload, `{shown}`: not documented; it is sent all the same"),
                    |meant| {
                        format!("payload, `{shown}`: did you mean `{meant}`? It is sent as it is")
                    },
                )
            })
            .collect();
        let more = unknown.count();
        if more > 0 {
            warnings.push(format!("payload: {more} more fields are not documented"));
        }
        warnings
    }

    /// Finds a filter field by its name or an older spelling.
    pub fn filter_field(&self, name: &str) -> Option<&FilterField> {
        self.filters
            .iter()
            .flatten()
            .find(|field| field.is_named(name))
    }
}

/// The kinds of operation the documentation has pages for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the documentation's own")]
pub enum OperationKind {
    List,
    ListForPerson,
    GetById,
    Get,
    Create,
    Update,
    Upsert,
    Delete,
    Delta,
}

impl std::fmt::Display for OperationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::List => "list",
            Self::ListForPerson => "list-for-person",
            Self::GetById => "get-by-id",
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
            Self::Delta => "delta",
        })
    }
}

/// The HTTP methods Protime documents; there is no PATCH.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    /// The method's name, for example `GET`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How sure a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Read from a page of the documentation.
    #[default]
    Documented,
    /// Follows from a neighbouring page or a general rule.
    Inferred,
}

/// A field that a filter may name in a list of this operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilterField {
    /// Its name in a filter, which differs from the JSON property: `person`, not `person.id`.
    pub name: &'static str,
    /// Older spellings of the name, which are accepted too.
    #[serde(default)]
    pub aliases: Vec<&'static str>,
    /// The type of the values that it is compared with.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// The operators that pages show with it. Whether it takes others is not documented.
    pub operators: Vec<Operator>,
    /// Whether Protime refuses a list without it.
    #[serde(default)]
    pub required: bool,
    /// The longest range of dates that Protime accepts, in years.
    pub max_range_years: Option<u8>,
    /// The documented values of an enum.
    #[serde(default, rename = "enum")]
    pub values: Vec<&'static str>,
}

impl FilterField {
    /// Whether this is the field's name or one of its aliases.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The type of a filter field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// A list of integer ids, or a named list such as `circle(2, 8)`.
    #[serde(rename = "id list")]
    IdList,
    /// A quoted date, `'YYYY-MM-DD'`.
    Date,
    /// A quoted word of a closed list.
    Enum,
    /// A quoted string.
    String,
    /// `true` or `false`.
    Boolean,
}

/// A property of a record or of a request body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// Its name; nested ones are written `person.id`, lists `levels[].id`.
    pub name: &'static str,
    /// Its documented type: `integer`, `string`, `string (GUID)`, `number`, `boolean`, `date`, `object`, `array`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether a write must carry it.
    #[serde(default)]
    pub required: bool,
    /// Whether it is personal data beyond the id of a person. This is our classification, not Protime's; see
    /// [`Catalogue::personal`].
    #[serde(default)]
    pub personal: bool,
    /// The documented values; empty if it names none.
    #[serde(default, rename = "enum")]
    pub values: Vec<&'static str>,
}
