//! `nextLink` and `deltaLink`, which are followed only to the tenant's own origin.

use std::borrow::Cow;

use url::Url;

/// Parameters with Base64 values, in which a plus sign is never an encoded space.
const TOKEN_PARAMETERS: [&str; 2] = ["continuationToken=", "deltaToken="];

/// A link that must not be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The link leads to another origin.
    #[error(
        "Protime sent a link to {found}, but links are followed to {expected} only; nothing was sent there"
    )]
    ForeignOrigin {
        /// Scheme, host and port of the link.
        found: String,
        /// Scheme, host and port of `base_uri`.
        expected: String,
    },
    /// The text is not a URL.
    #[error("Protime sent a link that is not a URL: {0}")]
    Malformed(String),
    /// The link was followed before in this run.
    #[error(
        "Protime sent the same link twice in one run (page {page} repeats it); the run would never end"
    )]
    Repeated {
        /// The index of the page, from 0, whose link repeats.
        page: u64,
    },
}

/// Resolves a link against the tenant's origin. `asked` is the URL whose answer has the link.
///
/// Protime sends links relative to the host and not percent-encoded, with literal spaces and quotes
/// (`how-to/fetch-resources`). This function encodes them, but nothing twice. It also encodes each `+` of a Base64 token,
/// which a server would read as a space. A parameter that decodes to the same value as one in `asked` is written as in
/// `asked`.
pub(crate) fn resolve(base: &Url, link: &str, asked: Option<&Url>) -> Result<Url, LinkError> {
    let encoded = encode(link, asked);
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

/// A parameter of our own request: as we encoded it, and decoded.
struct SentParameter<'a> {
    written: &'a str,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
}

/// A link counts as unencoded if it has characters that no URL may have. There, `+` and `#` are literal characters.
fn encode(link: &str, asked: Option<&Url>) -> String {
    let Some((path, query)) = link.split_once('?') else {
        return link.to_owned();
    };
    let ours = asked.and_then(Url::query).map_or_else(Vec::new, parameters);
    let raw = query.contains(|c: char| matches!(c, ' ' | '\'' | '"' | '<' | '>') || !c.is_ascii());
    let mut written = Vec::new();
    let mut rest = Some(query);
    while let Some(query) = rest {
        // An unencoded value may contain an ampersand.
        let (parameter, after) = ours
            .iter()
            .find_map(|ours| literal(query, ours))
            .or_else(|| {
                query
                    .split_once('&')
                    .map(|(parameter, after)| (parameter, Some(after)))
            })
            .unwrap_or((query, None));
        rest = after;
        written.push(
            match ours.iter().find(|ours| ours.is_repeated_by(parameter)) {
                Some(ours) => ours.written.to_owned(),
                None => encode_parameter(parameter, raw),
            },
        );
    }
    format!("{path}?{}", written.join("&"))
}

fn encode_parameter(parameter: &str, raw: bool) -> String {
    let is_token = TOKEN_PARAMETERS
        .iter()
        .any(|name| parameter.starts_with(name));
    match (raw, is_token) {
        (true, _) => parameter.replace('+', "%2B").replace('#', "%23"),
        (false, true) => parameter.replace('+', "%2B"),
        (false, false) => parameter.to_owned(),
    }
}

fn parameters(query: &str) -> Vec<SentParameter<'_>> {
    let written = query.split('&').filter(|parameter| !parameter.is_empty());
    written
        .zip(url::form_urlencoded::parse(query.as_bytes()))
        .map(|(written, (name, value))| SentParameter {
            written,
            name,
            value,
        })
        .collect()
}

/// Finds our parameter at the start of the unencoded `query`; returns it and the rest.
fn literal<'a>(query: &'a str, ours: &SentParameter<'_>) -> Option<(&'a str, Option<&'a str>)> {
    let after = query
        .strip_prefix(&*ours.name)?
        .strip_prefix('=')?
        .strip_prefix(&*ours.value)?;
    let parameter = &query[..query.len() - after.len()];
    match after.strip_prefix('&') {
        Some(after) => Some((parameter, Some(after))),
        None if after.is_empty() => Some((parameter, None)),
        None => None,
    }
}

impl SentParameter<'_> {
    /// Whether a parameter decodes to this one. A `+` may mean a space or itself.
    fn is_repeated_by(&self, parameter: &str) -> bool {
        let says = |text: &str| {
            url::form_urlencoded::parse(text.as_bytes())
                .next()
                .is_some_and(|(name, value)| name == self.name && value == self.value)
        };
        let literal = parameter
            .split_once('=')
            .is_some_and(|(name, value)| name == self.name && value == self.value);
        literal || says(parameter) || says(&parameter.replace('+', "%2B"))
    }
}
