//! Whether a creation whose answer was lost has happened: the record is looked for where it would be.

use jiff::ToSpan;
use jiff::civil::{Date, date};
use protime::catalogue::{LookUp, OperationKind, catalogue};
use protime::{Client, Error, PathParameters, Query, Request, RequestError};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Why nothing can be looked up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookUpError {
    /// The payload does not say what to look for.
    #[error("the payload has no comparable {0}")]
    Payload(&'static str),
    /// The client may not read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Protime did not answer.
    #[error(transparent)]
    Protime(#[from] Error),
}

/// What is looked for.
struct Wanted<'a> {
    payload: Value,
    rule: &'a LookUp,
    date: Date,
}

/// The ids of all records that equal the payload, claimed or not.
pub(crate) async fn look_up(
    client: &Client,
    entity: &str,
    rule: &LookUp,
    payload: &[u8],
    scopes: &[String],
    deadline: Instant,
) -> Result<Vec<String>, LookUpError> {
    let payload: Value =
        serde_json::from_slice(payload).map_err(|_| LookUpError::Payload("JSON"))?;
    let day = payload[rule.date]
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or(LookUpError::Payload("date"))?;
    let wanted = Wanted {
        payload,
        rule,
        date: day,
    };
    if wanted
        .fields()
        .any(|field| field.to_string().contains("externalReferences"))
    {
        return Err(LookUpError::Payload(
            "activity levels: they are given by external references",
        ));
    }
    let request = wanted.request(entity, scopes)?;
    let mut found = Vec::new();
    let mut pages = client.pages(&request, deadline);
    while let Some(page) = pages.next().await? {
        for record in page.records() {
            let record: Value = serde_json::from_str(record).unwrap_or_default();
            if wanted.is(&record) {
                found.push(
                    record["id"]
                        .as_str()
                        .map_or_else(|| record["id"].to_string(), str::to_owned),
                );
            }
        }
    }
    Ok(found)
}

impl Wanted<'_> {
    fn fields(&self) -> impl Iterator<Item = &Value> {
        self.rule.equal.iter().map(|name| &self.payload[name])
    }

    /// One day around the date, since minutes can lead to the day before or after.
    fn request(&self, entity: &str, scopes: &[String]) -> Result<Request, LookUpError> {
        let (from, until) = (
            self.date.saturating_sub(1.day()),
            self.date.saturating_add(1.day()),
        );
        let mut filter = format!("date ge '{from}' and date le '{until}'");
        let person = &self.payload["person"];
        let mut query = json!({});
        if let Some(id) = person["id"].as_i64() {
            filter = format!("{filter} and person in ({id})");
        } else {
            let (name, _) = reference(person).ok_or(LookUpError::Payload("person"))?;
            query["externalReferences"] = format!("(people,{name})").into();
        }
        query["filter"] = filter.into();
        let query: Query =
            serde_json::from_value(query).map_err(|_| LookUpError::Payload("person"))?;
        Ok(Request::read(
            entity,
            &PathParameters::default(),
            query,
            scopes,
            self.date,
        )?)
    }

    fn is(&self, record: &Value) -> bool {
        let person = &self.payload["person"];
        let same_person = match (person["id"].as_i64(), reference(person)) {
            (Some(id), _) => record["person"]["id"].as_i64() == Some(id),
            (None, Some((name, value))) => {
                record["person"]["externalReferences"][name].as_str() == Some(value)
            }
            (None, None) => false,
        };
        same_person
            && record["status"] != "Deleted"
            && self.same_time(record)
            && self
                .rule
                .equal
                .iter()
                .all(|name| self.payload[name] == record[name])
    }

    /// The same moment can be written as minutes of one date or of the next.
    fn same_time(&self, record: &Value) -> bool {
        let Some(first) = self.rule.minutes.first() else {
            return true;
        };
        let moment = |day: Date, minutes: &Value| {
            Some(
                i64::from(day.since(date(2000, 1, 1)).ok()?.get_days()) * 1440
                    + minutes.as_i64()?,
            )
        };
        let Some(wanted) = moment(self.date, &self.payload[first]) else {
            return false;
        };
        let day: Option<Date> = record[self.rule.date]
            .as_str()
            .and_then(|text| text.parse().ok());
        day.is_some_and(|day| {
            self.rule
                .minutes
                .iter()
                .any(|name| moment(day, &record[name]) == Some(wanted))
        })
    }
}

fn reference(person: &Value) -> Option<(&str, &str)> {
    let (name, value) = person["externalReferences"].as_object()?.iter().next()?;
    Some((name, value.as_str()?))
}

/// Whether a single record of the entity can be read, and is not there.
pub(crate) async fn is_gone(
    client: &Client,
    entity: &str,
    path: &PathParameters,
    scopes: &[String],
    today: Date,
    deadline: Instant,
) -> bool {
    let readable = catalogue()
        .entity(entity)
        .is_some_and(|entity| entity.operation(OperationKind::GetById).is_some());
    let request = Request::read(entity, path, Query::default(), scopes, today);
    match request {
        Ok(request) if readable => {
            matches!(client.pages(&request, deadline).next().await, Err(error) if error.status() == Some(404))
        }
        _ => false,
    }
}
