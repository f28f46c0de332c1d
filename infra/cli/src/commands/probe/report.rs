//! The report, which users may send to the project.

use std::fmt::Write as _;

use jiff::civil::Date;
use serde_json::{Value, json};

use super::known::Known;
use super::questions::{Answered, Finding, QUESTIONS, Question};
use crate::output::{FAINT, HEADING, Report, styled};
use crate::wording::counted;

/// The open questions that reads cannot settle.
const NOT_ASKED: [(u8, &str); 8] = [
    (1, "signature of webhooks: needs a webhook"),
    (2, "events of webhooks: need a webhook"),
    (3, "debugging of webhooks: not documented where"),
    (
        4,
        "endpoints of custom external references: not documented where",
    ),
    (5, "items of validationErrors: need a write"),
    (9, "lifetime of paging tokens: needs hours"),
    (
        10,
        "second start and links of deltas: could end a delta in use",
    ),
    (14, "provisioning of sandboxes: Protime says"),
];

/// The report of a dry run: the questions and their requests.
pub(super) fn planned(hoped: &Known) -> Report {
    let (mut text, mut questions) = (String::new(), Vec::new());
    for question in QUESTIONS {
        let requests = (question.asks)(hoped).len();
        text.push_str(&heading(
            question,
            &format!("at most {}", counted(requests as u64, "request")),
        ));
        questions.push(
            json!({"number": question.number, "question": question.text, "requests": requests}),
        );
    }
    Report::new(json!({"done": false, "questions": questions}), text)
}

pub(super) fn answered(answers: &[Answered], known: &Known, today: Date) -> Report {
    let version = env!("CARGO_PKG_VERSION");
    let requests = known.traffic.sent;
    let mut text = format!(
        "What Protime answers where its documentation leaves it open: {today}, protimectl {version}, {}.\n\
         It has statuses, counts, names and types; no value of a record.\n",
        counted(requests, "request")
    );
    for answered in answers {
        text.push('\n');
        let requests = counted(answered.requests, "request");
        text.push_str(&heading(answered.question, &requests));
        text.push_str(&lines(answered));
    }
    let _ = writeln!(
        text,
        "\n{}",
        styled(HEADING, "Not asked, since reads do not tell")
    );
    for (number, what) in NOT_ASKED {
        let _ = writeln!(text, "  {number}: {what}");
    }
    let questions: Vec<Value> = answers.iter().map(document).collect();
    let not_asked = NOT_ASKED.map(|(number, what)| json!({"number": number, "what": what}));
    let json = json!({
        "date": today.to_string(), "protimectl": version, "requests": requests, "questions": questions, "notAsked": not_asked,
    });
    Report::new(json, text)
}

/// Such as `8 Which operators ...? (12 requests)`. The number is that of the open question, if it has one.
fn heading(question: &Question, requests: &str) -> String {
    let number = question
        .number
        .map_or_else(String::new, |number| format!("{number}: "));
    let text = styled(HEADING, format!("{number}{}", question.text));
    format!("{text} {}\n", styled(FAINT, format!("({requests})")))
}

/// One line for each distinct finding, with everything on which it was seen.
fn lines(answered: &Answered) -> String {
    let mut text = String::new();
    let by_what = grouped(answered.findings.iter().map(|finding| {
        let Finding { what, entity, seen } = finding;
        ((what.as_str(), seen.as_str()), *entity)
    }));
    let lines = by_what
        .into_iter()
        .map(|((what, seen), entities)| ((seen, entities), what));
    for ((seen, entities), what) in grouped(lines) {
        let _ = write!(text, "  {}: {seen}", what.join("; "));
        let entities = entities.join(", ");
        if !entities.is_empty() {
            let _ = write!(text, " {}", styled(FAINT, format!("({entities})")));
        }
        text.push('\n');
    }
    if text.is_empty() {
        let _ = writeln!(text, "  not obtained: {}", answered.question.unless);
    }
    text
}

/// The values of each key. The keys keep the order in which they first occur.
fn grouped<K: PartialEq, V>(pairs: impl Iterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => groups.push((key, vec![value])),
        }
    }
    groups
}

fn document(answered: &Answered) -> Value {
    let question = answered.question;
    let findings = answered.findings.iter().map(|finding| {
        let entity = Some(finding.entity).filter(|entity| !entity.is_empty());
        json!({"what": finding.what, "entity": entity, "seen": finding.seen})
    });
    let findings: Vec<Value> = findings.collect();
    let missing = findings.is_empty().then_some(question.unless);
    json!({
        "number": question.number, "question": question.text, "requests": answered.requests, "findings": findings,
        "notObtained": missing,
    })
}
