//! The envelope of every message that leaves the connector: `CloudEvents` 1.0 in JSON, in characters that SQS takes.

use jiff::Timestamp;

/// The characters of JSON strings that XML 1.0 lacks, which SQS therefore refuses, and their escapes.
pub(crate) const NO_XML: [(char, &str); 2] = [('\u{FFFE}', "\\ufffe"), ('\u{FFFF}', "\\uffff")];

/// The attributes of an event.
#[derive(Debug, Clone, Copy)]
pub struct CloudEvent<'a> {
    /// Its `type`, such as `protime.page.v1`.
    pub kind: &'a str,
    /// Stable: consumers drop repeats by it.
    pub id: &'a str,
    /// What the event is about, as a URI.
    pub source: &'a str,
    /// The incoming connection, for events of a run.
    pub subject: Option<&'a str>,
    /// When it happened; written in whole seconds.
    pub time: Timestamp,
}

impl CloudEvent<'_> {
    /// The event's JSON up to `datacontenttype`. Extension attributes, `data` and the closing brace are the caller's.
    pub fn opening(&self) -> String {
        let Self {
            kind,
            id,
            source,
            subject,
            time,
        } = self;
        let (id, source) = (quoted(id), quoted(source));
        let subject = subject.map_or_else(String::new, |name| {
            format!(r#""subject":{},"#, quoted(name))
        });
        format!(
            r#"{{"specversion":"1.0","type":"{kind}","id":{id},"source":{source},{subject}"time":"{time:.0}","datacontenttype":"application/json""#
        )
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    xml_legal(&serde_json::Value::from(text).to_string())
}

/// JSON in which the characters that XML 1.0 lacks are escaped.
pub fn xml_legal(json: &str) -> String {
    NO_XML
        .iter()
        .fold(json.to_owned(), |json, (character, escape)| {
            json.replace(*character, escape)
        })
}
