//! The parts of a request: fields, headers and cookies.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use url::form_urlencoded;

/// The fields of a query or of a form.
#[derive(Debug, Clone, Default)]
pub(in crate::console) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn of(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The first value of that name.
    pub(in crate::console) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The first value of that name, unless it is empty.
    pub(in crate::console) fn filled(&self, name: &str) -> Option<&str> {
        let value = self.get(name).map(str::trim);
        value.filter(|value| !value.is_empty())
    }
}

/// A header that occurs more than once, or is not text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// The only header of that name, or `None` if it is absent.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Ambiguous> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Ambiguous);
    }
    first
        .map(|value| value.to_str().map_err(|_| Ambiguous))
        .transpose()
}

/// The values of all cookies of that name.
pub(super) fn cookies<'a>(
    headers: &'a HeaderMap,
    name: &'a str,
) -> impl Iterator<Item = &'a str> + 'a {
    let texts = headers.get_all(COOKIE).iter();
    let texts = texts.filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';'));
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs.filter_map(move |(known, value)| (known == name).then_some(value))
}
