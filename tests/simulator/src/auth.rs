//! The token endpoint, and the rights of a token.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::json;
use url::form_urlencoded;

use crate::answer::Answer;
use crate::documentation::{Entity, Operation, documentation};
use crate::state::{State, TENANT, Token};

/// The scope of the collection that has no documented operations.
const EXTERNAL_REFERENCES: &str = "connector-protimeapi-external-references.write";

/// Whether the path is the token endpoint. Each tenant has its own; the simulator has one tenant.
pub(crate) fn is_token_endpoint(path: &str) -> bool {
    // §2.3: Tokens are per tenant
    path.strip_prefix("/tenants/")
        .and_then(|path| path.strip_suffix("/connect/token"))
        == Some(TENANT)
}

/// Answers `POST /tenants/{tenant}/connect/token`, with the errors of RFC 6749.
pub(crate) fn token(state: &mut State, body: &[u8]) -> Answer {
    // §2.1: Only grant documented: OAuth 2.0 client credentials
    // §2.2: space-separated list
    // §2.3: `expires_in` (int, seconds; example 1800)
    state.token_requests += 1;
    let field = |name: &str| {
        let found = form_urlencoded::parse(body).find(|(key, _)| key == name);
        found
            .map(|(_, value)| value.into_owned())
            .unwrap_or_default()
    };
    let error = |status, code: &str| Answer::json(status, &json!({"error": code}));
    if field("grant_type") != "client_credentials" {
        return error(400, "unsupported_grant_type");
    }
    if field("client_id") != state.client_id || field("client_secret") != state.client_secret {
        return error(400, "invalid_client");
    }
    // §2.4: `external-references`
    let mut known = documentation().scopes();
    known.push(EXTERNAL_REFERENCES.to_owned());
    let scopes: Vec<String> = field("scope")
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    if scopes.is_empty() || !scopes.iter().all(|scope| known.contains(scope)) {
        return error(400, "invalid_scope");
    }
    let withheld = &state.settings.withheld_scopes;
    let scopes: Vec<String> = scopes
        .into_iter()
        .filter(|scope| !withheld.contains(scope))
        .collect();
    let access_token = format!("simulated.access-token.{}", state.token_requests);
    let expires_in = state.settings.expires_in;
    let life = SignedDuration::from_secs(i64::try_from(expires_in).unwrap_or(i64::MAX));
    let expires = state
        .now()
        .saturating_add(life)
        .unwrap_or(jiff::Timestamp::MAX);
    let granted = scopes.join(" ");
    let client_id = state.client_id.clone();
    state.tokens.insert(
        access_token.clone(),
        Arc::new(Token {
            client_id,
            expires,
            scopes,
        }),
    );
    Answer::json(
        200,
        &json!({"access_token": access_token, "expires_in": expires_in, "token_type": "Bearer", "scope": granted}),
    )
}

/// The token of a request, if it is valid and the request has a `User-Agent`.
pub(crate) fn authenticate(
    state: &State,
    authorization: Option<&str>,
    user_agent: &str,
) -> Result<Arc<Token>, Answer> {
    // §1.1: **mandatory on every request**
    // §2.3: Expired or invalid token → `401` from the API
    let token = authorization
        .and_then(|header| header.strip_prefix("Bearer "))
        .and_then(|token| state.tokens.get(token));
    let token = token.filter(|token| state.now() < token.expires);
    let Some(token) = token else {
        return Err(denied(
            state,
            401,
            "The access token is missing or not valid.",
        ));
    };
    // The header is mandatory. What happens without it is not documented.
    if user_agent.is_empty() {
        return Err(Answer::error(
            400,
            "BadRequest",
            "The User-Agent header is missing.",
        ));
    }
    Ok(token.clone())
}

/// Whether the token covers the operation.
pub(crate) fn authorise(
    state: &State,
    token: &Token,
    entity: &Entity,
    operation: &Operation,
) -> Result<(), Answer> {
    // §2.5: `403` valid token without the needed scope
    // §2.4: A scope covers a whole collection
    let enough = operation.scopes(entity);
    let covered = enough.iter().any(|scope| token.scopes.contains(scope));
    let status = state.settings.missing_scope_status;
    if covered {
        Ok(())
    } else {
        Err(denied(state, status, "The access token lacks the scope."))
    }
}

fn denied(state: &State, status: u16, message: &str) -> Answer {
    if state.settings.empty_auth_errors {
        return Answer::empty(status);
    }
    Answer::error(
        status,
        if status == 401 {
            "Unauthorized"
        } else {
            "Forbidden"
        },
        message,
    )
}
