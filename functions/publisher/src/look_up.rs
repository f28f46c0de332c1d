//! Looks for the record of a creation whose response was lost.

use connector::after_lost_response::LookUp;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use protime::catalogue::{OperationKind, catalogue};
use protime::{
    Client, Context, CycleDetector, Error, PathParameters, Query, Request, RequestError, Settings,
    Shape, Target,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::comparison::{RecordMatch, day_of, integer_of, match_record};
use crate::decision::look_up_may_pass;

/// Why no look-up is possible.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookUpError {
    /// The payload lacks a value to search by.
    #[error("the payload has no usable {0}")]
    Payload(&'static str),
    /// The client may not read the entity.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Protime did not answer the search.
    #[error(transparent)]
    Protime(#[from] Error),
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Ids of records that equal the payload, whether claimed or not.
    pub(crate) equal: Vec<String>,
    /// Whether other records could be the one, but cannot be compared fully.
    pub(crate) has_similar: bool,
}

/// The progress of a look-up that takes more than one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// When it began. It may miss what was written later.
    began: Timestamp,
    /// The id of the person, where the payload has only a reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<i64>,
    /// The URL of the next page.
    next: String,
    /// Detects page links that repeat.
    trail: CycleDetector,
    found: Found,
}

/// The result of a look-up.
#[derive(Debug)]
pub(crate) enum LookUpOutcome {
    /// All pages were read; writes after `began` may be missing.
    Finished { found: Found, began: Timestamp },
    /// This error, which may pass, stopped it; a later attempt goes on from here.
    Unfinished(Progress, Error),
}

/// A search for the record of a write.
pub(crate) struct Search<'a> {
    pub(crate) client: &'a Client,
    pub(crate) entity: &'a str,
    pub(crate) rule: &'a LookUp,
    pub(crate) payload: &'a [u8],
    pub(crate) settings: &'a Settings,
    pub(crate) deadline: Instant,
}

/// The values of the payload that the search uses.
struct Wanted<'a> {
    payload: Value,
    rule: &'a LookUp,
    day: Date,
    person: Person<'a>,
}

/// The person of the wanted record.
#[derive(Clone)]
enum Person<'a> {
    Id(i64),
    Reference { name: &'a str, value: &'a str },
}

impl Search<'_> {
    /// Searches for the record, from the page where an earlier attempt stopped.
    pub(crate) async fn run(
        &self,
        progress: Option<&Progress>,
        now: Timestamp,
    ) -> Result<LookUpOutcome, LookUpError> {
        let payload: Value =
            serde_json::from_slice(self.payload).map_err(|_| LookUpError::Payload("JSON"))?;
        let person = payload["person"].clone();
        let person = match progress.and_then(|progress| progress.person) {
            Some(id) => Person::Id(id),
            None => self.person(&person).await?,
        };
        let day = payload[self.rule.date].as_str().and_then(day_of);
        let wanted = Wanted {
            rule: self.rule,
            day: day.ok_or(LookUpError::Payload("date"))?,
            person,
            payload,
        };
        let found = self.read(&wanted, progress, now).await;
        match found {
            // Protime no longer accepts the paging token, so the search starts again.
            Err(LookUpError::Protime(error))
                if error.refusal_kind() == Some(protime::RefusalKind::InvalidContinuation) =>
            {
                self.read(&wanted, None, now).await
            }
            found => found,
        }
    }

    async fn read(
        &self,
        wanted: &Wanted<'_>,
        progress: Option<&Progress>,
        now: Timestamp,
    ) -> Result<LookUpOutcome, LookUpError> {
        let began = progress.map_or(now, |progress| progress.began);
        let mut found = progress.map_or_else(Found::default, |progress| progress.found.clone());
        let request = wanted.request(self.entity, self.settings)?;
        let mut pages = match progress {
            Some(progress) => self.client.pages_from(
                &progress.next,
                Shape::List,
                progress.trail,
                self.deadline,
            )?,
            None => self.client.pages(&request, self.deadline),
        };
        let mut is_new = false;
        while let Some(next) = pages.position().map(ToString::to_string) {
            let trail = pages.trail();
            let page = match pages.next().await {
                Ok(page) => page,
                // The next attempt does not read these pages again.
                Err(error) if is_new && look_up_may_pass(&error) => {
                    let progress = Progress {
                        began,
                        person: wanted.person.id(),
                        next,
                        trail,
                        found,
                    };
                    return Ok(LookUpOutcome::Unfinished(progress, error));
                }
                Err(error) => return Err(error.into()),
            };
            is_new = true;
            for record in page.iter().flat_map(protime::Page::records) {
                match serde_json::from_str(record) {
                    Ok(record) => wanted.classify(&record, &mut found),
                    // A record that cannot be parsed could be the one.
                    Err(_) => found.has_similar = true,
                }
            }
        }
        Ok(LookUpOutcome::Finished { found, began })
    }

    /// The person, by id if possible, since a list can be filtered only by id. Where the payload has only a reference,
    /// Protime is asked for the id.
    async fn person<'p>(&self, person: &'p Value) -> Result<Person<'p>, LookUpError> {
        if let Some(id) = integer_of(&person["id"]) {
            return Ok(Person::Id(id));
        }
        let reference = person["externalReferences"].as_object();
        let Some((name, value)) = reference.and_then(|references| references.iter().next()) else {
            return Err(LookUpError::Payload("person"));
        };
        let value = value.as_str().ok_or(LookUpError::Payload("person"))?;
        let by_reference = Person::Reference { name, value };
        let path = serde_json::from_value(json!({"id": value}));
        let query =
            serde_json::from_value(json!({"externalReferences": format!("(people,{name})")}));
        let (Ok(path), Ok(query)) = (path, query) else {
            return Ok(by_reference);
        };
        let people = Target {
            entity: "people",
            path: &path,
            query,
        };
        let Ok(request) = Request::read(people, &Context::of(self.settings, Date::MIN)) else {
            return Ok(by_reference);
        };
        let mut pages = self.client.pages(&request, self.deadline);
        let page = match pages.next().await {
            Ok(page) => page,
            // The client may lack the right to read people. The records carry the reference as well.
            Err(error) if matches!(error.status(), Some(400 | 401 | 403)) => None,
            Err(error) => return Err(error.into()),
        };
        let record = page.and_then(|page| {
            let record = page.records().next()?;
            serde_json::from_str::<Value>(record).ok()
        });
        let id = record.and_then(|record| integer_of(&record["id"]));
        Ok(id.map_or(by_reference, Person::Id))
    }
}

impl Person<'_> {
    fn id(&self) -> Option<i64> {
        match self {
            Self::Id(id) => Some(*id),
            Self::Reference { .. } => None,
        }
    }

    /// Whether the record is about this person. None if the record does not say.
    fn is(&self, record: &Value) -> Option<bool> {
        let person = &record["person"];
        match self {
            Self::Id(id) => integer_of(&person["id"]).map(|there| there == *id),
            Self::Reference { name, value } => {
                let there = person["externalReferences"][*name].as_str();
                there.map(|there| there == *value)
            }
        }
    }
}

impl Wanted<'_> {
    /// The request for one day on either side of the date. Minutes can reach into a neighbouring day, and a schedule
    /// can assign a clocking to it.
    fn request(&self, entity: &str, settings: &Settings) -> Result<Request, LookUpError> {
        let (from, until) = (
            self.day.saturating_sub(1.day()),
            self.day.saturating_add(1.day()),
        );
        let filter = format!("date ge '{from}' and date le '{until}'");
        let query = match &self.person {
            Person::Id(id) => json!({"filter": format!("{filter} and person in ({id})")}),
            Person::Reference { name, .. } => {
                json!({"filter": filter, "externalReferences": format!("(people,{name})")})
            }
        };
        let query: Query =
            serde_json::from_value(query).map_err(|_| LookUpError::Payload("person"))?;
        let target = Target {
            entity,
            path: &PathParameters::default(),
            query,
        };
        Ok(Request::read(target, &Context::of(settings, self.day))?)
    }

    fn classify(&self, record: &Value, found: &mut Found) {
        match (
            self.person.is(record),
            match_record(&self.payload, record, self.rule),
        ) {
            (Some(false), _) | (_, RecordMatch::Other) => {}
            (None, _) | (_, RecordMatch::Similar) => found.has_similar = true,
            (Some(true), RecordMatch::Equal) => {
                let id = match &record["id"] {
                    Value::String(id) => id.clone(),
                    id => id.to_string(),
                };
                if !found.equal.contains(&id) {
                    found.equal.push(id);
                }
            }
        }
    }
}

/// Whether a record is gone: its entity can be read by id, and Protime answers 404. An error may pass.
pub(crate) async fn is_deleted(
    client: &Client,
    entity: &str,
    path: &PathParameters,
    settings: &Settings,
    deadline: Instant,
) -> Result<bool, Error> {
    let readable = catalogue()
        .entity(entity)
        .is_some_and(|entity| entity.operation(OperationKind::GetById).is_some());
    let target = Target {
        entity,
        path,
        query: Query::default(),
    };
    let request = Request::read(target, &Context::of(settings, Date::MIN));
    let (true, Ok(request)) = (readable, request) else {
        return Ok(false);
    };
    match client.pages(&request, deadline).next().await {
        Ok(_) => Ok(false),
        Err(error) if look_up_may_pass(&error) => Err(error),
        Err(error) => Ok(error.status() == Some(404)),
    }
}
