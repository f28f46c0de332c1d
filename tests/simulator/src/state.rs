//! The state of a simulator, behind one lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::Value;

use crate::data::{Collection, Size};
use crate::documentation::{Entity, documentation};
use crate::fault::Fault;
use crate::list::Listing;
use crate::references::{Asked, References};
use crate::settings::{Options, Settings};

pub(crate) const TENANT: &str = "acme";

pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    pub(crate) origin: String,
    clock: Clock,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    pub(crate) tokens: HashMap<String, Arc<Token>>,
    pub(crate) token_requests: u64,
    collections: HashMap<String, Collection>,
    pub(crate) listings: HashMap<String, Arc<Listing>>,
    pub(crate) deltas: HashMap<u64, Delta>,
    pub(crate) references: References,
    pub(crate) faults: Vec<Fault>,
    pub(crate) requests: VecDeque<LoggedRequest>,
    /// Usages and restrictions, by path: sub-resources without ids.
    pub(crate) documents: HashMap<String, Vec<Value>>,
    versions: u64,
    last_delta: u64,
}

/// An access token that was issued.
pub(crate) struct Token {
    pub(crate) client_id: String,
    pub(crate) expires: Timestamp,
    pub(crate) scopes: Vec<String>,
}

/// A delta that was started.
pub(crate) struct Delta {
    pub(crate) client_id: String,
    pub(crate) entity: &'static str,
    pub(crate) filter: Option<String>,
    pub(crate) references: Vec<Asked>,
    pub(crate) last_request: Timestamp,
    /// The number of changes at the start. Later changes are not in the first load.
    pub(crate) start: usize,
    pub(crate) used: Vec<String>,
}

/// A request in the log.
#[derive(Debug, Clone, Serialize)]
pub struct LoggedRequest {
    /// The method, such as `GET`.
    pub method: String,
    /// Path and query, exactly as on the request line.
    pub target: String,
    /// The `User-Agent` header; empty if there was none.
    pub user_agent: String,
    /// Whether it carried an `Authorization` header.
    pub authorized: bool,
    /// The body. It is empty for token requests.
    pub body: String,
    /// The status of the answer; 0 if the connection was broken.
    pub status: u16,
}

enum Clock {
    Real(SignedDuration),
    Fixed(Timestamp),
}

impl State {
    pub(crate) fn new(options: Options, origin: String) -> Self {
        Self {
            settings: options.settings.clone(),
            clock: options
                .now
                .map_or(Clock::Real(SignedDuration::ZERO), Clock::Fixed),
            options,
            origin,
            client_id: "simulator-client".to_owned(),
            client_secret: "simulator-client-secret".to_owned(),
            tokens: HashMap::new(),
            token_requests: 0,
            collections: HashMap::new(),
            listings: HashMap::new(),
            deltas: HashMap::new(),
            references: References::default(),
            faults: Vec::new(),
            requests: VecDeque::new(),
            documents: HashMap::new(),
            versions: 1 << 32,
            last_delta: 0,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        match self.clock {
            Clock::Fixed(now) => now,
            Clock::Real(ahead) => Timestamp::now()
                .saturating_add(ahead)
                .unwrap_or(Timestamp::MAX),
        }
    }

    /// If the simulator started with a fixed time, the clock stands still at `now`; otherwise it goes on from there.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.clock = match self.clock {
            Clock::Fixed(_) => Clock::Fixed(now),
            Clock::Real(_) => Clock::Real(now.duration_since(Timestamp::now())),
        };
    }

    pub(crate) fn next_version(&mut self) -> String {
        self.versions += 1;
        crate::data::change_version(self.versions)
    }

    /// A number that no earlier delta had.
    pub(crate) fn next_delta(&mut self) -> u64 {
        self.last_delta += 1;
        self.last_delta
    }

    /// Whether a person of that id exists, from the start or by a write.
    pub(crate) fn has_person(&self, id: i64) -> bool {
        let people = self.collections.get("people");
        (1..=i64::from(self.options.people)).contains(&id)
            || people.is_some_and(|people| people.find(&id.to_string()).is_some())
    }

    /// The records of an entity. They are made when they are first read.
    pub(crate) fn collection(&mut self, entity: &Entity) -> &mut Collection {
        let size = self.size();
        self.collections
            .entry(entity.name.clone())
            .or_insert_with(|| Collection::generate(entity, &entity.name, size))
    }

    /// Makes the records of an entity, unless it has some.
    pub(crate) fn make(&mut self, entity: &Entity) {
        self.make_named(entity, &entity.name);
    }

    /// Makes one of the several collections of an entity, under its own name.
    pub(crate) fn make_named(&mut self, entity: &Entity, name: &str) {
        let size = self.size();
        self.collections
            .entry(name.to_owned())
            .or_insert_with(|| Collection::generate(entity, name, size));
    }

    /// The records of an entity, after [`Self::make`].
    pub(crate) fn made(&self, entity: &Entity) -> &Collection {
        self.named(&entity.name)
    }

    pub(crate) fn named(&self, name: &str) -> &Collection {
        static NONE: LazyLock<Collection> = LazyLock::new(Collection::default);
        self.collections.get(name).unwrap_or(&NONE)
    }

    fn size(&self) -> Size {
        let today = self.options.now.unwrap_or_else(Timestamp::now);
        Size {
            people: self.options.people,
            days: self.options.days,
            seed: self.options.seed,
            today: today.to_zoned_datetime(jiff::tz::TimeZone::UTC).date(),
        }
    }

    /// Replaces the records of an entity, also of one that the catalogue lacks.
    pub(crate) fn set_collection(&mut self, name: &str, collection: Collection) {
        self.collections.insert(name.to_owned(), collection);
        self.listings.clear();
    }

    pub(crate) fn known_collection(&self, name: &str) -> Option<&Collection> {
        self.collections.get(name)
    }

    pub(crate) fn remember(&mut self, request: LoggedRequest) {
        if self.requests.len() >= self.options.remember_requests {
            self.requests.pop_front();
        }
        if self.options.remember_requests > 0 {
            self.requests.push_back(request);
        }
    }

    /// The client as a secret for the connector.
    pub(crate) fn secret(&self) -> Value {
        serde_json::json!({
            "base_uri": self.origin,
            "access_token_url": format!("{}/tenants/{TENANT}/connect/token", self.origin),
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scopes": documentation().scopes(),
        })
    }
}
