//! What a new run asks Protime for.

use connector::connection::{IncomingConnection, Sync};
use connector::store::{Chain, Checkpoint, ConnectionState, DeltaClaim, StateTable};
use jiff::Timestamp;
use jiff::civil::date;
use protime::catalogue::FieldType;
use protime::filter::Filter;
use protime::{Request, Settings};
use url::Url;

use crate::Error;
use crate::transfer::beginning;

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
    match connection.sync {
        Sync::Full => full(connection, settings, state),
        Sync::Delta => delta(connection, settings, state, table, now).await,
    }
}

fn full(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &ConnectionState,
) -> Result<Checkpoint, Error> {
    let (path, query) = connection.parameters(state.last.as_ref().map(|last| last.scheduled))?;
    let requests = Request::split_read(
        &connection.entity,
        &path,
        &query,
        &settings.scopes,
        today(connection),
        connection.window,
        &settings.base_uri,
    )?;
    if requests.len() > 1 {
        tracing::info!(
            incoming = connection.incoming,
            chains = requests.len(),
            "the run is split"
        );
    }
    warn(connection, requests.first());
    let source = requests
        .first()
        .map(|request| request.url(&settings.base_uri));
    let chains = requests
        .iter()
        .map(|request| beginning(request.url(&settings.base_uri).into()))
        .collect();
    Ok(checkpoint(connection, "full", source.as_ref(), chains))
}

async fn delta(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &mut ConnectionState,
    table: &StateTable,
    now: Timestamp,
) -> Result<Checkpoint, Error> {
    let start = delta_start(connection, settings, state)?;
    let fingerprint = connection.fingerprint();
    if let Some(delta) = &state.delta
        && delta.fingerprint != fingerprint
        && !connection.takeover
    {
        return Err(Error::EditedDelta(connection.incoming.clone()));
    }
    match table
        .claim_delta(
            &delta_key(connection, settings),
            &connection.incoming,
            now,
            connection.takeover,
        )
        .await?
    {
        DeltaClaim::OwnedBy(owner) => {
            return Err(Error::DeltaOwned {
                entity: connection.entity.clone(),
                owner,
            });
        }
        DeltaClaim::TakenOver => state.delta = None,
        DeltaClaim::Kept => {}
    }
    match state
        .delta
        .take_if(|delta| delta.fingerprint != fingerprint)
    {
        Some(_) => tracing::warn!(
            incoming = connection.incoming,
            "the delta is started anew with the edited request"
        ),
        None => warn_about_start(connection, &start),
    }
    let source = start.url(&settings.base_uri);
    let Some(delta) = &state.delta else {
        warn(connection, Some(&start));
        return Ok(checkpoint(
            connection,
            "initial",
            Some(&source),
            vec![beginning(source.to_string())],
        ));
    };
    let hours = now.duration_since(delta.polled).as_hours();
    tracing::info!(
        incoming = connection.incoming,
        deltaLinkAgeHours = hours,
        "polling the delta"
    );
    if hours >= OLD_HOURS {
        tracing::warn!(
            incoming = connection.incoming,
            deltaLinkAgeHours = hours,
            "the delta link is old; Protime forgets changes after 72 hours without a poll"
        );
    }
    Ok(checkpoint(
        connection,
        "delta",
        Some(&source),
        vec![beginning(delta.link.clone())],
    ))
}

/// The first load of a delta, for a run that finds its link expired.
pub(crate) fn initial(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &ConnectionState,
) -> Result<Checkpoint, Error> {
    let start = delta_start(connection, settings, state)?.url(&settings.base_uri);
    Ok(checkpoint(
        connection,
        "initial",
        Some(&start),
        vec![beginning(start.to_string())],
    ))
}

/// What Protime keeps one delta per client and collection by.
pub(crate) fn delta_key(connection: &IncomingConnection, settings: &Settings) -> String {
    format!(
        "{}{}/{}",
        settings.base_uri, settings.client_id, connection.entity
    )
}

fn delta_start(
    connection: &IncomingConnection,
    settings: &Settings,
    state: &ConnectionState,
) -> Result<Request, Error> {
    let (path, query) = connection.parameters(state.last.as_ref().map(|last| last.scheduled))?;
    Ok(Request::delta(
        &connection.entity,
        &path,
        query,
        &settings.scopes,
        today(connection),
    )?)
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
            incoming = connection.incoming,
            "Protime refuses this start date after the next 1 January; let a transformer set it, for example with start_of_year"
        );
    }
}

fn checkpoint(
    connection: &IncomingConnection,
    sync: &str,
    source: Option<&Url>,
    chains: Vec<Chain>,
) -> Checkpoint {
    let source = source.cloned().map(|mut url| {
        url.set_query(None);
        url.to_string()
    });
    Checkpoint {
        fingerprint: connection.fingerprint(),
        run: connection.run.clone(),
        scheduled: connection.scheduled,
        started: None,
        event: None,
        sync: sync.to_owned(),
        source: source.unwrap_or_default(),
        chains,
    }
}

/// Protime's dates are local.
fn today(connection: &IncomingConnection) -> jiff::civil::Date {
    connection
        .scheduled
        .to_zoned_datetime(connection.time_zone.clone())
        .date()
}

fn warn(connection: &IncomingConnection, request: Option<&Request>) {
    for warning in request.into_iter().flat_map(|request| &request.warnings) {
        tracing::warn!(incoming = connection.incoming, "{warning}");
    }
}
