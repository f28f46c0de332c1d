//! The envelope of every message that leaves the connector: `CloudEvents` 1.0 in JSON, with only the characters that
//! SQS accepts.

use jiff::Timestamp;

/// Characters of JSON strings that XML 1.0 lacks, so that SQS refuses them, with their escapes.
pub(crate) const NO_XML: [(char, &str); 2] = [('\u{FFFE}', "\\ufffe"), ('\u{FFFF}', "\\uffff")];

/// The context attributes of a `CloudEvents` event.
#[derive(Debug, Clone, Copy)]
pub struct CloudEvent<'a> {
    /// The attribute `type`, such as `protime.page.v1`.
    pub kind: &'a str,
    /// The attribute `id`. It is stable, so that consumers can drop repeated events.
    pub id: &'a str,
    /// The attribute `source`: what the event is about, as a URI.
    pub source: &'a str,
    /// The attribute `subject`: the incoming connection of a run's event. None for other events.
    pub subject: Option<&'a str>,
    /// The attribute `time`: when it happened, in whole seconds.
    pub time: Timestamp,
}

impl CloudEvent<'_> {
    /// The event's JSON up to `datacontenttype`. The caller adds extension attributes, `data` and the closing brace.
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

/// A text as a JSON string that SQS accepts.
pub fn quoted(text: &str) -> String {
    xml_legal(&serde_json::Value::from(text).to_string())
}

/// Escapes the characters in JSON that XML 1.0 lacks.
pub fn xml_legal(json: &str) -> String {
    NO_XML
        .iter()
        .fold(json.to_owned(), |json, (character, escape)| {
            json.replace(*character, escape)
        })
}
