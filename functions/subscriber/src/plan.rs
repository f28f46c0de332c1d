//! What a new run asks Protime for: its requests and its first checkpoint.

use connector::contract::connection::{IncomingConnection, SyncMode};
use connector::contract::parameters::Parameters;
use connector::store::{
    Chains, Checkpoint, ConnectionState, DELTA_LIFE, Delta, DeltaClaim, LoadKind, StateTable,
};
use jiff::Timestamp;
use jiff::civil::date;
use protime::catalogue::FieldType;
use protime::filter::Filter;
use protime::{Context, Effort, Request, RequestError, Settings, Shape, Target};
use url::Url;

use crate::Error;

/// A delta link this old is close to its end after 72 hours.
const OLD_HOURS: i64 = 48;

/// The first checkpoint of a run, before any request.
pub(crate) async fn plan(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &mut ConnectionState,
    table: &StateTable,
    now: Timestamp,
) -> Result<Checkpoint, Error> {
    for warning in connection.warnings() {
        tracing::warn!("{warning}");
    }
    match connection.sync {
        SyncMode::Full => full(connection, settings, state, table).await,
        SyncMode::Delta => delta(connection, settings, state, table, now).await,
    }
}

async fn full(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &ConnectionState,
    table: &StateTable,
) -> Result<Checkpoint, Error> {
    let parameters = parameters(connection, state)?;
    let requests = match read(connection, &parameters, settings) {
        // A transformer may compute an empty range when there is nothing to read this time.
        Err(RequestError::MatchesNothing(contradiction))
            if connection.has_transformer() && !is_written_out(connection, &contradiction) =>
        {
            tracing::warn!("{contradiction}: Protime is not asked, and the run has no page");
            Vec::new()
        }
        read => read?,
    };
    if requests.len() > 1 {
        tracing::info!(chains = requests.len(), "the run is split");
    }
    warn(requests.first());
    let urls = requests
        .iter()
        .map(|request| request.url(&settings.base_uri));
    let source = match urls.clone().next() {
        Some(url) => url,
        None => Request::source(&connection.entity, &parameters.path, &settings.base_uri)?,
    };
    let shape = requests.first().map(Request::shape).unwrap_or_default();
    let urls = urls.map(String::from).collect();
    let mut checkpoint = checkpoint(connection, LoadKind::Full, &source);
    checkpoint.chains = table.plan(&connection.name, urls, shape).await?;
    // The completion message carries this request, so that consumers can repeat it.
    let asked = match connection.window {
        Some(window) => {
            let open = parameters.json.trim_end().strip_suffix('}');
            let open = open.unwrap_or(&parameters.json);
            format!(r#"{open},"window":"{window}"}}"#)
        }
        None => parameters.json,
    };
    let request = table.store_text(&connection.name, &asked);
    checkpoint.request = Some(request.await?);
    Ok(checkpoint)
}

/// The requests that show what a connection reads, without side effects. A delta is read without its delta flag: that
/// flag would start a new delta and end the live one. Empty when there is nothing to read this time.
pub fn reads(
    connection: &IncomingConnection,
    state: &ConnectionState,
    settings: &Settings,
) -> Result<Vec<Request>, Error> {
    let parameters = parameters(connection, state)?;
    if connection.sync == SyncMode::Delta {
        start(connection, &parameters, settings)?;
    }
    match read(connection, &parameters, settings) {
        Err(RequestError::MatchesNothing(_)) if connection.has_transformer() => Ok(Vec::new()),
        read => Ok(read?),
    }
}

/// The requests that read everything, split as Protime's limits demand.
fn read(
    connection: &IncomingConnection,
    parameters: &Parameters,
    settings: &Settings,
) -> Result<Vec<Request>, RequestError> {
    let context = Context::of(settings, today(connection));
    Request::split_read(target(connection, parameters), connection.window, &context)
}

/// The request that starts a delta.
fn start(
    connection: &IncomingConnection,
    parameters: &Parameters,
    settings: &Settings,
) -> Result<Request, RequestError> {
    let context = Context::of(settings, today(connection));
    Request::delta(target(connection, parameters), &context)
}

fn target<'a>(connection: &'a IncomingConnection, parameters: &'a Parameters) -> Target<'a> {
    Target {
        entity: &connection.entity,
        path: &parameters.path,
        query: parameters.query.clone(),
    }
}

/// Whether the connection's own parameters contradict each other, so that a person has to correct them.
fn is_written_out(connection: &IncomingConnection, contradiction: &str) -> bool {
    let written = connection.written_parameters().ok();
    let found = written.and_then(|written| Request::contradiction(&target(connection, &written)));
    found.as_deref() == Some(contradiction)
}

/// Claims the one delta that Protime keeps per client and collection. It is an error if another connection owns it.
pub(crate) async fn claim(
    connection: &IncomingConnection,
    settings: &Settings,
    table: &StateTable,
    now: Timestamp,
    takeover: bool,
) -> Result<DeltaClaim, Error> {
    let key = delta_key(connection, settings);
    let claim = table
        .claim_delta(&key, &connection.name, now, takeover)
        .await?;
    match claim {
        DeltaClaim::OwnedBy(owner) => Err(Error::DeltaOwned {
            entity: connection.entity.clone(),
            owner,
        }),
        claim => Ok(claim),
    }
}

async fn delta(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &mut ConnectionState,
    table: &StateTable,
    now: Timestamp,
) -> Result<Checkpoint, Error> {
    let takeover = connection.unused_takeover(state).is_some();
    let is_edited = |fingerprint: &str| fingerprint != connection.fingerprint();
    if let Some(delta) = &state.delta
        && is_edited(&delta.fingerprint)
        && !takeover
    {
        return Err(Error::EditedDelta(connection.name.clone()));
    }
    // If the secret now names another client or host, the link is not valid there.
    let key = delta_key(connection, settings);
    let lives = |delta: &&Delta| {
        let is_there = delta.key.as_ref().is_none_or(|known| *known == key);
        is_there && !takeover && now.duration_since(delta.polled) < DELTA_LIFE
    };
    let live = state.delta.as_ref().filter(lives);
    // A load that cannot be requested must not end the delta of another connection.
    let anew = match live {
        Some(_) => None,
        None => Some(initial(connection, settings, state, table).await?),
    };
    let claim = claim(connection, settings, table, now, takeover).await?;
    let Some(delta) = live.filter(|_| claim != DeltaClaim::TakenOver) else {
        let anew = match anew {
            Some(anew) => anew,
            None => initial(connection, settings, state, table).await?,
        };
        // The old delta is forgotten only once its replacement is known.
        if state.delta.take().is_some() {
            tracing::warn!("the delta is started anew; everything is loaded");
            state.resync_is_due = true;
        }
        return Ok(anew);
    };
    let hours = now.duration_since(delta.polled).as_hours();
    tracing::info!(deltaLinkAgeHours = hours, "polling the delta");
    if hours >= OLD_HOURS {
        tracing::warn!(
            deltaLinkAgeHours = hours,
            "the delta link is old; Protime forgets changes after 72 hours without a poll"
        );
    }
    // A poll sends no filter, so the filter is not checked. Its start date may be too old by now.
    let source = Request::delta_source(&connection.entity, &settings.base_uri)?;
    let mut poll = checkpoint(connection, LoadKind::Delta, &source);
    poll.chains = Chains::one(delta.link.clone(), Shape::List);
    poll.request.clone_from(&delta.request);
    Ok(poll)
}

/// The checkpoint of a delta's first load, or of the load after its link has expired.
pub(crate) async fn initial(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &ConnectionState,
    table: &StateTable,
) -> Result<Checkpoint, Error> {
    let parameters = parameters(connection, state)?;
    let start = start(connection, &parameters, settings)?;
    warn_about_start(connection, &start);
    warn(Some(&start));
    let url = start.url(&settings.base_uri);
    let mut checkpoint = checkpoint(connection, LoadKind::Initial, &url);
    checkpoint.chains = Chains::one(url.into(), Shape::List);
    let request = table.store_text(&connection.name, &parameters.json);
    checkpoint.request = Some(request.await?);
    Ok(checkpoint)
}

/// The key that identifies a delta. Protime documents one per collection (`how-to/track-changes-with-delta`); its
/// concept page suggests one per client as well.
pub(crate) fn delta_key(connection: &IncomingConnection, settings: &Settings) -> String {
    format!(
        "{}{}/{}",
        settings.base_uri, settings.client_id, connection.entity
    )
}

fn parameters(
    connection: &IncomingConnection,
    state: &ConnectionState,
) -> Result<Parameters, Error> {
    let last = state.last.as_ref().map(|last| last.scheduled);
    Ok(connection.parameters(last)?)
}

/// Warns about a fixed start date outside this year: Protime refuses it from the next 1 January on. That shows only
/// when the delta has to start again.
fn warn_about_start(connection: &IncomingConnection, start: &Request) {
    let filter: Option<Filter> = start
        .query
        .get("filter")
        .and_then(|filter| filter.parse().ok());
    let fields = start
        .operation
        .and_then(|operation| operation.filters.as_ref());
    let field = fields
        .into_iter()
        .flatten()
        .find(|field| field.kind == FieldType::Date);
    let (Some(filter), Some(field), false) = (filter, field, connection.has_transformer()) else {
        return;
    };
    let (from, _) = filter.date_bounds(field);
    if from.is_some_and(|from| from < date(today(connection).year(), 1, 1)) {
        tracing::warn!(
            "Protime refuses this start date after the next 1 January; let a transformer set it, for example with start_of_year"
        );
    }
}

fn checkpoint(connection: &IncomingConnection, load: LoadKind, source: &Url) -> Checkpoint {
    let mut source = source.clone();
    source.set_query(None);
    Checkpoint {
        fingerprint: connection.fingerprint(),
        run: connection.run.clone(),
        scheduled: connection.scheduled,
        started: None,
        event: None,
        load,
        source: source.into(),
        request: None,
        chains: Chains::default(),
        effort: Effort::default(),
        handed_over: false,
    }
}

/// The scheduled day in the connection's time zone, since Protime's dates are local.
fn today(connection: &IncomingConnection) -> jiff::civil::Date {
    connection
        .scheduled
        .to_zoned_datetime(connection.time_zone.clone())
        .date()
}

fn warn(request: Option<&Request>) {
    for warning in request.into_iter().flat_map(|request| &request.warnings) {
        tracing::warn!("{warning}");
    }
}
