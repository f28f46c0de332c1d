//! Protime's documentation of its entities as a table: `documentation.json`, the machine-readable twin of the pages. It
//! is independent of the connector's own catalogue.

use std::sync::OnceLock;

use serde::Deserialize;

const TEXT: &str = include_str!("documentation.json");

/// The table, parsed once.
pub(crate) fn documentation() -> &'static Documentation {
    static DOCUMENTATION: OnceLock<Documentation> = OnceLock::new();
    DOCUMENTATION.get_or_init(|| {
        #[expect(
            clippy::expect_used,
            reason = "the file is part of the program, and every test reads it"
        )]
        serde_json::from_str(TEXT).expect("documentation.json fits these types")
    })
}

#[derive(Deserialize)]
pub(crate) struct Documentation {
    /// The prefix of every path of the API.
    pub(crate) base_path: String,
    pub(crate) entities: Vec<Entity>,
    conventions: Conventions,
}

#[derive(Deserialize)]
struct Conventions {
    uri_limit_chars: usize,
    predefined_external_references: std::collections::BTreeMap<String, Vec<String>>,
    delta: Delta,
}

#[derive(Deserialize)]
struct Delta {
    expires_hours: i64,
    expired_status: u16,
}

impl Documentation {
    pub(crate) fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name == name)
    }

    /// The longest request target that is answered, in characters.
    pub(crate) fn uri_limit(&self) -> usize {
        // §1: Server limit **4 096 characters**
        self.conventions.uri_limit_chars
    }

    /// The life of a delta after its last request, in hours.
    pub(crate) fn delta_hours(&self) -> i64 {
        // §5.2: Delta expires **72 h after the last request**
        self.conventions.delta.expires_hours
    }

    pub(crate) fn expired_delta_status(&self) -> u16 {
        // §5.2: Expired link → **`410 Gone`**
        self.conventions.delta.expired_status
    }

    /// The predefined references of a collection, which start with `@` and are fields of its records.
    pub(crate) fn predefined(&self, collection: &str) -> &[String] {
        // §8.1: `@badge-number`, `@employee-number`
        // §8.1: `@absence-code`
        // §8.1: `@counter-code`
        // §8.1: `@shift-code`
        // §8.1: `@external-code`
        // §8.1: `@data-entry-code`, `@external-reference`
        let predefined = &self.conventions.predefined_external_references;
        predefined.get(collection).map_or(&[], Vec::as_slice)
    }

    /// All scopes of all collections.
    pub(crate) fn scopes(&self) -> Vec<String> {
        // §2.4: Pattern: `connector-protimeapi-<collection>.<permission>`
        let operations = self.entities.iter().flat_map(|entity| {
            let of_entity = |operation| Operation::scopes(operation, entity);
            entity.operations.iter().flat_map(of_entity)
        });
        let mut scopes: Vec<String> = operations.collect();
        scopes.sort();
        scopes.dedup();
        scopes
    }
}

#[derive(Deserialize)]
pub(crate) struct Entity {
    pub(crate) name: String,
    pub(crate) operations: Vec<Operation>,
    #[serde(default)]
    pub(crate) properties: Vec<Property>,
    /// The collections whose references its records can carry.
    #[serde(default)]
    pub(crate) external_references: Option<Vec<String>>,
}

impl Entity {
    pub(crate) fn operation(&self, kind: Kind) -> Option<&Operation> {
        self.operations
            .iter()
            .find(|operation| operation.kind == kind)
    }

    pub(crate) fn property(&self, name: &str) -> Option<&Property> {
        self.properties
            .iter()
            .find(|property| property.name == name)
    }

    pub(crate) fn has_guids(&self) -> bool {
        self.property("id").is_some_and(Property::is_guid)
    }
}

#[derive(Deserialize)]
pub(crate) struct Operation {
    #[serde(rename = "operation")]
    pub(crate) kind: Kind,
    pub(crate) method: Method,
    pub(crate) path: String,
    scope: Option<Scope>,
    /// The fields of filters. `None` if the table of filters could not be read.
    pub(crate) filters: Option<Vec<Filter>>,
    #[serde(default)]
    pub(crate) path_values: std::collections::BTreeMap<String, Vec<String>>,
    pub(crate) continuation_path: Option<String>,
    pub(crate) success: Option<Vec<u16>>,
    /// The supported references. `None` if the list could not be read.
    pub(crate) external_references: Option<Vec<Reference>>,
    pub(crate) body: Option<Vec<Property>>,
    pub(crate) expand: Option<Vec<String>>,
}

impl Operation {
    /// The scopes of which one is enough. If the page was not seen, they follow from the general rule.
    pub(crate) fn scopes(&self, entity: &Entity) -> Vec<String> {
        match &self.scope {
            Some(Scope::One(scope)) => vec![scope.clone()],
            Some(Scope::Any(scopes)) => scopes.clone(),
            None => vec![format!("connector-protimeapi-{}.read", entity.name)],
        }
    }

    /// The path at which a delta is polled, below the API's version.
    pub(crate) fn delta_path(&self) -> Option<&str> {
        self.continuation_path.as_deref()?.split('?').next()
    }

    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &str> {
        let parts = self.path.split('{').skip(1);
        parts.filter_map(|part| part.split('}').next())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scope {
    One(String),
    Any(Vec<String>),
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
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

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    Get,
    Post,
    Put,
    Delete,
}

#[derive(Deserialize)]
pub(crate) struct Filter {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: FilterKind,
    pub(crate) operators: Vec<crate::filter::Operator>,
    pub(crate) required: bool,
    /// The longest range of dates in words, such as `1 year`.
    pub(crate) max_range: Option<String>,
    #[serde(rename = "enum")]
    pub(crate) values: Option<Vec<String>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FilterKind {
    #[serde(rename = "id list")]
    Ids,
    Date,
    Enum,
    Boolean,
    String,
}

#[derive(Deserialize)]
pub(crate) struct Reference {
    pub(crate) collection: String,
    pub(crate) predefined: Vec<String>,
    pub(crate) custom: bool,
}

#[derive(Deserialize)]
pub(crate) struct Property {
    /// The path of the property, such as `activityLevels[].level`.
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) writable: bool,
    pub(crate) required: Option<bool>,
    #[serde(rename = "enum")]
    values: Option<Vec<String>>,
}

impl Property {
    pub(crate) fn values(&self) -> &[String] {
        self.values.as_deref().unwrap_or_default()
    }

    pub(crate) fn is_guid(&self) -> bool {
        self.kind.contains("GUID")
    }
}
