//! What a new run asks Protime for.

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

/// A delta link this old is close to the end of its 72 hours.
const OLD_HOURS: i64 = 48;

/// The checkpoint of a run of which nothing is done yet.
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
        // A program makes such a range when there is nothing to read this time.
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
    // What was asked for, so that whoever reads the messages can ask the same.
    let asked = match connection.window {
        Some(window) => {
            let open = parameters.json.trim_end().strip_suffix('}');
            let open = open.unwrap_or(&parameters.json);
            format!(r#"{open},"window":"{window}"}}"#)
        }
        None => parameters.json,
    };
    let request = table.keep_text(&connection.name, &asked);
    checkpoint.request = Some(request.await?);
    Ok(checkpoint)
}

/// The reads that show what a connection reads, and none that it keeps to itself: a delta's is made without the flag that
/// would start it, and end the one that lives. None where there is nothing to read this time.
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

/// The requests by which everything is read, as Protime allows them.
fn read(
    connection: &IncomingConnection,
    parameters: &Parameters,
    settings: &Settings,
) -> Result<Vec<Request>, RequestError> {
    let context = Context::of(settings, today(connection));
    Request::split_read(target(connection, parameters), connection.window, &context)
}

/// The request by which a delta is started.
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

/// Whether the contradiction is in the connection itself, where a person has to correct it.
fn is_written_out(connection: &IncomingConnection, contradiction: &str) -> bool {
    let written = connection.written_parameters().ok();
    let found = written.and_then(|written| Request::contradiction(&target(connection, &written)));
    found.as_deref() == Some(contradiction)
}

/// Claims the one delta that Protime keeps per client and collection; a delta of another connection is an error.
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
    let claim = claim(connection, settings, table, now, takeover).await?;
    let lives = |delta: &&Delta| {
        !takeover && claim != DeltaClaim::TakenOver && now.duration_since(delta.polled) < DELTA_LIFE
    };
    let Some(delta) = state.delta.as_ref().filter(lives) else {
        let anew = initial(connection, settings, state, table).await?;
        // What was known of the delta is forgotten once there is something in its place.
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
    // A poll sends no filter, so that none is checked: a start date that was right is not wrong next year.
    let source = Request::delta_source(&connection.entity, &settings.base_uri)?;
    let mut poll = checkpoint(connection, LoadKind::Delta, &source);
    poll.chains = Chains::one(delta.link.clone(), Shape::List);
    poll.request.clone_from(&delta.request);
    Ok(poll)
}

/// The first load of a delta, also for a run that finds its link expired.
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
    let request = table.keep_text(&connection.name, &parameters.json);
    checkpoint.request = Some(request.await?);
    Ok(checkpoint)
}

/// By what a delta is told from others: Protime documents one per collection (`how-to/track-changes-with-delta`), and its
/// concept page suggests that it counts per client.
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

/// A start date that is written out and not in this year is refused from the next 1 January on, which shows only
/// when the delta has to be started anew.
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

/// Protime's dates are local.
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
