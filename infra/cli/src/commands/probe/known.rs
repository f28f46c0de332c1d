//! The results of earlier answers that later questions need.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::ToSpan as _;
use jiff::civil::Date;
use protime::catalogue::{Entity, FieldType, FilterField, Operation, OperationKind, catalogue};
use protime::{API_PATH, HeaderMap, HeaderValue, Query, Settings};
use serde_json::json;

use super::ask::{Answer, Content, List};

/// The ways to write a space in a query. The documentation shows the first.
pub(super) const SPACES: [&str; 2] = ["%20", "+"];

/// How far back the first read of each list goes, in days.
const DAYS_BACK: i64 = 90;

/// Counts and headers of all requests so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Traffic {
    /// The number of requests, including those without an answer.
    pub(super) sent: u64,
    pub(super) refused_for_rate: u32,
    /// The names of the headers of all answers.
    pub(super) headers: BTreeSet<String>,
}

/// Facts about tokens, as the token endpoint states them.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenFacts {
    pub(super) life: String,
    pub(super) granted: String,
    pub(super) unknown_scope: String,
}

pub(super) struct Known {
    pub(super) settings: Arc<Settings>,
    pub(super) today: Date,
    pub(super) token: TokenFacts,
    pub(super) traffic: Traffic,
    pub(super) space: &'static str,
    /// The lists that could be read.
    pub(super) lists: Vec<List>,
    /// The entity, the target and the `ETag` of answers that had one.
    pub(super) etags: Vec<(&'static str, String, HeaderValue)>,
}

impl Known {
    pub(super) fn new(settings: &Arc<Settings>, today: Date) -> Self {
        Self {
            settings: settings.clone(),
            today,
            token: TokenFacts::default(),
            traffic: Traffic::default(),
            space: SPACES[0],
            lists: Vec::new(),
            etags: Vec::new(),
        }
    }

    /// The state after the best possible answers. It gives the upper limit of the requests.
    pub(super) fn hoped(settings: &Arc<Settings>, today: Date) -> Self {
        let first = Answer {
            status: 200,
            headers: HeaderMap::new(),
            content: Content::Json(json!({"value": [{"id": 1}], "nextLink": ""})),
        };
        let mut known = Self::new(settings, today);
        let lists = known.readable().map(|(entity, operation)| List {
            entity,
            operation,
            target: String::new(),
            first: first.clone(),
        });
        known.lists = lists.collect();
        let etags = known.lists.iter().map(|list| {
            (
                list.entity.name,
                String::new(),
                HeaderValue::from_static(""),
            )
        });
        known.etags = etags.collect();
        known
    }

    /// The lists that the secret's scopes allow, according to the catalogue.
    pub(super) fn readable(&self) -> impl Iterator<Item = (&'static Entity, &'static Operation)> {
        lists().filter(|(_, operation)| self.has_scope_of(operation))
    }

    /// The lists that the secret's scopes do not allow.
    pub(super) fn out_of_scope(&self) -> impl Iterator<Item = &'static Entity> {
        let others = lists().filter(|(_, operation)| !self.has_scope_of(operation));
        others.map(|(entity, _)| entity)
    }

    fn has_scope_of(&self, operation: &Operation) -> bool {
        let needed = operation.needed_scopes();
        let scopes = &self.settings.scopes;
        needed.iter().any(|scope| scopes.contains(scope))
    }

    /// The first list that was read whose filter may name a field of that kind.
    pub(super) fn with_field(&self, kind: FieldType) -> Option<(&List, &'static FilterField)> {
        self.fields().find(|(_, field)| field.kind == kind)
    }

    /// Every filter field of every list that was read.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&List, &'static FilterField)> {
        self.lists.iter().flat_map(|list| {
            let fields = list.operation.filters.iter().flatten();
            fields.map(move |field| (list, field))
        })
    }

    /// The target of a request, with spaces written in the way that Protime accepts.
    pub(super) fn target(&self, path: &str, filter: Option<&str>) -> String {
        target(path, filter, self.space)
    }

    /// A filter that the documentation allows and that selects few records: those of today. `None` if no filter is
    /// required.
    pub(super) fn least(&self, operation: &Operation) -> Option<String> {
        between(operation, self.today, Some(self.today))
    }

    /// Like [`Self::least`], but over the last months, so that there may be more than a page.
    pub(super) fn recent(&self, operation: &Operation) -> Option<String> {
        let from = self.today.saturating_sub(DAYS_BACK.days());
        between(operation, from, Some(self.today))
    }

    /// The required filter with one condition more.
    pub(super) fn also(&self, operation: &Operation, condition: &str) -> String {
        match self.least(operation) {
            Some(least) => format!("{least} and {condition}"),
            None => condition.to_owned(),
        }
    }
}

/// The lists whose paths have no parameters.
fn lists() -> impl Iterator<Item = (&'static Entity, &'static Operation)> {
    let entities = catalogue().entities().iter();
    let lists =
        entities.filter_map(|entity| Some((entity, entity.operation(OperationKind::List)?)));
    lists.filter(|(_, operation)| !operation.path.contains('{'))
}

/// The required conditions on dates. `None` if the operation requires none.
pub(super) fn between(operation: &Operation, from: Date, until: Option<Date>) -> Option<String> {
    let fields = operation.filters.iter().flatten();
    let required: Vec<String> = fields
        .filter(|field| field.required && field.kind == FieldType::Date)
        .map(|field| {
            let name = field.name;
            let end = until.map_or_else(String::new, |until| format!(" and {name} le '{until}'"));
            format!("{name} ge '{from}'{end}")
        })
        .collect();
    (!required.is_empty()).then(|| required.join(" and "))
}

/// A target from a path and a filter, with `space` for each space.
pub(super) fn target(path: &str, filter: Option<&str>, space: &str) -> String {
    let Some(filter) = filter else {
        return format!("{API_PATH}{path}");
    };
    // In form encoding, a plus sign is always a space.
    let query = Query::default().with("filter", filter).encoded();
    format!("{API_PATH}{path}?{}", query.replace('+', space))
}
