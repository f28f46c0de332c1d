//! `nextLink` and `deltaLink`: followed to the tenant's own origin only.

use url::Url;

/// Parameters whose values are Base64, in which a plus sign is never an encoded space.
const TOKEN_PARAMETERS: [&str; 2] = ["continuationToken=", "deltaToken="];

/// A link that must not be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It leads elsewhere.
    #[error(
        "Protime sent a link to {found}, but links are followed to {expected} only; nothing was sent there"
    )]
    ForeignOrigin {
        /// Scheme, host and port of the link.
        found: String,
        /// The configured ones.
        expected: String,
    },
    /// It is no link.
    #[error("Protime sent a link that is not a URL: {0}")]
    Malformed(String),
    /// It was followed before in this run.
    #[error(
        "Protime sent the same link twice in one run (page {page} repeats it); the run would never end"
    )]
    Repeated {
        /// The page, from 0, whose link repeats.
        page: u64,
    },
}

/// Resolves a link against the tenant's origin.
///
/// Protime sends links relative to the host and not percent-encoded, with literal spaces and quotes
/// (`how-to/fetch-resources`). They are encoded without encoding anything twice and without damage to the
/// Base64 token, whose `+` a server would otherwise read as a space.
pub(crate) fn resolve(base: &Url, link: &str) -> Result<Url, LinkError> {
    let encoded = encode(link);
    let url = base
        .join(&encoded)
        .map_err(|error| LinkError::Malformed(error.to_string()))?;
    if url.origin() != base.origin() || !url.username().is_empty() || url.password().is_some() {
        return Err(LinkError::ForeignOrigin {
            found: url.origin().ascii_serialization(),
            expected: base.origin().ascii_serialization(),
        });
    }
    Ok(url)
}

/// A link with characters that no URL may have was not encoded: there, `+` and `#` mean themselves.
fn encode(link: &str) -> String {
    let Some((path, query)) = link.split_once('?') else {
        return link.to_owned();
    };
    let raw = query.contains(|c: char| matches!(c, ' ' | '\'' | '"' | '<' | '>') || !c.is_ascii());
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| {
            let is_token = TOKEN_PARAMETERS
                .iter()
                .any(|name| parameter.starts_with(name));
            match (raw, is_token) {
                (true, _) => parameter.replace('+', "%2B").replace('#', "%23"),
                (false, true) => parameter.replace('+', "%2B"),
                (false, false) => parameter.to_owned(),
            }
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}
