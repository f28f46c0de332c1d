//! The control plane, through which tests and people change the simulator while it runs.

use axum::Json;
use axum::Router;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::data::Collection;
use crate::documentation::documentation;
use crate::fault::Fault;
use crate::server::{SharedState, lock};
use crate::settings::Settings;
use crate::state::LoggedRequest;

type Outcome<T> = Result<T, (StatusCode, String)>;

pub(crate) fn routes() -> Router<SharedState> {
    Router::new()
        .route("/_simulator", get(secret))
        .route(
            "/_simulator/requests",
            get(requests).delete(forget_requests),
        )
        .route("/_simulator/faults", post(add_fault).delete(clear_faults))
        .route("/_simulator/clock", put(set_clock))
        .route("/_simulator/revoke-tokens", post(revoke_tokens))
        .route("/_simulator/client", put(set_client))
        .route("/_simulator/settings", get(settings).put(set_settings))
        .route("/_simulator/records/{*entity}", put(set_records))
        .route("/_simulator/changes", post(change))
}

async fn secret(Shared(state): Shared<SharedState>) -> Json<Value> {
    let state = lock(&state);
    Json(json!({"secret": state.secret(), "token_requests": state.token_requests}))
}

async fn requests(Shared(state): Shared<SharedState>) -> Json<Vec<LoggedRequest>> {
    Json(lock(&state).requests.iter().cloned().collect())
}

async fn forget_requests(Shared(state): Shared<SharedState>) {
    lock(&state).requests.clear();
}

async fn add_fault(Shared(state): Shared<SharedState>, Json(fault): Json<Fault>) {
    lock(&state).faults.push(fault);
}

async fn clear_faults(Shared(state): Shared<SharedState>) {
    lock(&state).faults.clear();
}

#[derive(Deserialize)]
struct Now {
    now: Timestamp,
}

async fn set_clock(Shared(state): Shared<SharedState>, Json(Now { now }): Json<Now>) {
    lock(&state).set_now(now);
}

async fn revoke_tokens(Shared(state): Shared<SharedState>) {
    lock(&state).tokens.clear();
}

#[derive(Deserialize)]
struct Client {
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Rotates the client; its tokens become invalid.
async fn set_client(Shared(state): Shared<SharedState>, Json(client): Json<Client>) -> Json<Value> {
    let mut state = lock(&state);
    if let Some(id) = client.client_id {
        state.client_id = id;
    }
    if let Some(secret) = client.client_secret {
        state.client_secret = secret;
    }
    state.tokens.clear();
    Json(state.secret())
}

async fn settings(Shared(state): Shared<SharedState>) -> Json<Settings> {
    Json(lock(&state).settings.clone())
}

/// Changes only the settings that are given.
async fn set_settings(
    Shared(state): Shared<SharedState>,
    Json(given): Json<serde_json::Map<String, Value>>,
) -> Outcome<()> {
    let mut state = lock(&state);
    let mut merged = serde_json::to_value(&state.settings).unwrap_or_default();
    for (name, value) in given {
        merged[name] = value;
    }
    state.settings = serde_json::from_value(merged)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok(())
}

/// A JSON array of records, kept byte for byte.
async fn set_records(
    Shared(state): Shared<SharedState>,
    Path(entity): Path<String>,
    body: String,
) -> Outcome<()> {
    let records: Vec<&RawValue> = serde_json::from_str(&body)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let collection = Collection::from_texts(records.iter().map(|record| record.get()));
    lock(&state).set_collection(&entity, collection);
    Ok(())
}

#[derive(Deserialize)]
struct ChangeRequest {
    entity: String,
    id: String,
    /// Whether the record is deleted; otherwise it is updated.
    #[serde(default)]
    delete: bool,
    /// The properties that an update changes.
    #[serde(default)]
    set: serde_json::Map<String, Value>,
}

/// Changes a record behind the API's back, as a user of myProtime would.
async fn change(
    Shared(state): Shared<SharedState>,
    Json(request): Json<ChangeRequest>,
) -> Outcome<()> {
    // §5.5: **Soft-deleted clockings** stay in all outputs
    // §5.5: Saving one **counter group** or **absence group** in myProtime re-saves them all
    let mut state = lock(&state);
    let unknown = |what: &str| (StatusCode::NOT_FOUND, format!("no such {what}"));
    let entity = documentation()
        .entity(&request.entity)
        .ok_or_else(|| unknown("entity"))?;
    let version = state.next_version();
    let collection = state.collection(entity);
    // A deleted clocking stays, with the status that says so (`concepts/clocking-model`).
    let is_soft = entity.name == "clockings";
    if request.delete && !is_soft {
        return if collection.remove(&request.id, version) {
            Ok(())
        } else {
            Err(unknown("record"))
        };
    }
    let mut value = collection
        .find(&request.id)
        .map(|record| collection.value(record))
        .ok_or_else(|| unknown("record"))?;
    for (name, set) in request.set {
        value[name] = set;
    }
    if request.delete {
        value["status"] = "Deleted".into();
    }
    value["changeVersion"] = version.into();
    collection.put(&value);
    // Saving one of these groups saves all of them.
    if matches!(entity.name.as_str(), "absence-groups" | "counter-groups") {
        let others = state.collection(entity).records.iter();
        let others = others.filter(|record| record.id != request.id).cloned();
        for record in others.collect::<Vec<_>>() {
            let mut other = state.collection(entity).value(&record);
            other["changeVersion"] = state.next_version().into();
            state.collection(entity).put(&other);
        }
    }
    Ok(())
}
