//! Checks templates offline. It reads every connection in a template and in nested ones, and makes their requests as
//! the functions would.

mod across;
mod document;
mod evaluate;
mod expression;
mod finding;
mod incoming;
mod insert;
mod json;
mod outgoing;
mod plausible;
mod queue;
mod request;
mod samconfig;
mod scalar;
mod schedule;
mod text;
mod walk;
mod yaml;

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use protime::Settings;
use protime::catalogue::catalogue;
use serde_json::{Value, json};

use crate::error::{Code, Error};
use crate::output::{BAD, GOOD, Report, WARNING, styled};
use crate::source;
use finding::Severity;
pub(crate) use insert::insert;
use walk::Walk;

/// The file name extensions of templates.
const ENDINGS: [&str; 4] = ["yaml", "yml", "template", "json-template"];

/// Whether an argument is a template: by its extension, for JSON by its content.
pub(crate) fn is_template(argument: &str) -> bool {
    let ending = Path::new(argument).extension();
    let ending = ending.map(|ending| ending.to_string_lossy().to_lowercase());
    match ending.as_deref() {
        Some("json") => {
            let text = std::fs::read(argument).unwrap_or_default();
            let json: Value = serde_json::from_slice(&text).unwrap_or_default();
            json.get("Resources").is_some()
        }
        Some(ending) => ENDINGS.contains(&ending),
        None => false,
    }
}

/// Checks templates with all that they nest, and reports the findings.
pub(crate) fn check(paths: &[&str], now: Timestamp) -> Result<Report, Error> {
    let mut walk = Walk::new(settings()?, now);
    for path in paths {
        walk.template(Path::new(path), &source::text(path)?);
    }
    Ok(report(&mut walk))
}

/// Checks the text of a template as if it were in that file.
pub(crate) fn check_text(path: &Path, text: &str, now: Timestamp) -> Result<Report, Error> {
    let mut walk = Walk::new(settings()?, now);
    walk.template(path, text);
    Ok(report(&mut walk))
}

/// Returns the problem of a schedule's expression.
pub(crate) fn check_schedule(expression: &str) -> Result<(), String> {
    let checked = expression::check(expression, expression::Service::Scheduler);
    checked.map_err(|wrong| wrong.problem)
}

/// The settings of a client that has all scopes.
pub(crate) fn settings() -> Result<Settings, Error> {
    let entities = catalogue().entities().iter();
    let operations = entities.flat_map(|entity| &entity.operations);
    let scopes: Vec<String> = operations
        .flat_map(protime::catalogue::Operation::needed_scopes)
        .collect();
    let json = json!({
        "base_uri": "https://tenant.myprotime.eu",
        "access_token_url": "https://authentication.myprotime.eu/tenants/tenant/connect/token",
        "client_id": "check",
        "client_secret": "check",
        "scopes": scopes,
    });
    Settings::from_json(json.to_string().as_bytes())
        .map_err(|error| Error::Other(error.to_string()))
}

fn report(walk: &mut Walk) -> Report {
    walk.findings.sort();
    walk.findings.dedup();
    let count = |severity| {
        let all = walk.findings.iter();
        all.filter(|finding| finding.severity == severity).count()
    };
    let (mistakes, warnings) = (count(Severity::Mistake), count(Severity::Warning));
    let templates = walk.templates.len();
    let framed = walk.findings.iter().map(|finding| {
        let frame = finding.framed(&walk.files);
        format!("{frame}\n")
    });
    let mut text: String = framed.collect();
    let result = match (mistakes, warnings) {
        (0, 0) => styled(GOOD, "no mistakes"),
        (0, _) => styled(
            WARNING,
            format!("no mistakes, {}", number(warnings, "warning")),
        ),
        (_, 0) => styled(BAD, number(mistakes, "mistake")),
        _ => {
            let both = format!(
                "{}, {}",
                number(mistakes, "mistake"),
                number(warnings, "warning")
            );
            styled(BAD, both)
        }
    };
    let _ = writeln!(
        text,
        "{}, {}, {}: {result}",
        number(templates, "template"),
        number(walk.incoming, "incoming connection"),
        number(walk.outgoing, "outgoing connection"),
    );
    let findings = walk
        .findings
        .iter()
        .map(|finding| finding.json(&walk.files));
    let json = json!({
        "findings": findings.collect::<Value>(),
        "templates": templates,
        "incoming": walk.incoming,
        "outgoing": walk.outgoing,
    });
    let code = if mistakes > 0 {
        Code::Connection
    } else {
        Code::Ok
    };
    Report::new(json, text).with_code(code)
}

fn number(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
