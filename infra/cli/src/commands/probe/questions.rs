//! The questions, in the order in which they are asked.

use super::ask::{Ask, Reply};
use super::known::Known;
use super::{errors, filters, properties, records, service};

/// A question that the documentation leaves open.
pub(super) struct Question {
    /// Its number in the list of open questions in the project's notes on the API, section 12. `None` if the list lacks
    /// it.
    pub(super) number: Option<u8>,
    pub(super) text: &'static str,
    /// The requests that answer the question, given the earlier answers.
    pub(super) asks: fn(&Known) -> Vec<Ask>,
    /// Reads findings from the answers, and stores what later questions need.
    pub(super) read: fn(&mut Known, &[Reply]) -> Vec<Finding>,
    /// The reason that the report gives if there is no finding.
    pub(super) unless: &'static str,
}

/// One fact that was found out.
pub(super) struct Finding {
    pub(super) what: String,
    /// The entity that it is about; empty if it is general.
    pub(super) entity: &'static str,
    pub(super) seen: String,
}

impl Finding {
    pub(super) fn general(what: &str, seen: impl Into<String>) -> Self {
        Self {
            what: what.to_owned(),
            entity: "",
            seen: seen.into(),
        }
    }

    pub(super) fn of(reply: &Reply, seen: impl Into<String>) -> Self {
        Self {
            what: reply.what.clone(),
            entity: reply.entity,
            seen: seen.into(),
        }
    }
}

/// A question with its findings.
pub(super) struct Answered {
    pub(super) question: &'static Question,
    pub(super) requests: u64,
    pub(super) findings: Vec<Finding>,
}

/// No requests: earlier answers are enough.
fn nothing(_: &Known) -> Vec<Ask> {
    Vec::new()
}

/// A finding with the status of each answer.
pub(super) fn statuses(_: &mut Known, replies: &[Reply]) -> Vec<Finding> {
    let seen = |reply: &Reply| match &reply.outcome {
        Ok(answer) => answer.status.to_string(),
        Err(reason) => reason.clone(),
    };
    replies
        .iter()
        .map(|reply| Finding::of(reply, seen(reply)))
        .collect()
}

const NO_LIST: &str = "no list that it needs could be read; see the question on lists";

pub(super) const QUESTIONS: &[Question] = &[
    Question {
        number: None,
        text: "How are spaces written in a filter?",
        asks: filters::spaces,
        read: filters::note_spaces,
        unless: "the secret has no scope of a list with a filter",
    },
    Question {
        number: Some(7),
        text: "Which lists can be read with the scopes that are documented or suggested?",
        asks: records::lists,
        read: records::note_lists,
        unless: "the secret has no scope of a list",
    },
    Question {
        number: Some(7),
        text: "What does the token endpoint grant, for how long, and how does it refuse?",
        asks: nothing,
        read: service::token,
        unless: "",
    },
    Question {
        number: Some(9),
        text: "How many records has a page?",
        asks: nothing,
        read: records::page_sizes,
        unless: NO_LIST,
    },
    Question {
        number: Some(9),
        text: "Is a paging token taken twice?",
        asks: records::next_page_twice,
        read: records::compare,
        unless: "no list that could be read has a second page",
    },
    Question {
        number: None,
        text: "Do records have the properties that are documented?",
        asks: nothing,
        read: properties::differences,
        unless: NO_LIST,
    },
    Question {
        number: Some(8),
        text: "Which operators do fields take, besides those that pages show?",
        asks: filters::operators,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: Some(8),
        text: "Which filters do lists take whose filters are not documented, and which older names of fields?",
        asks: filters::fields_not_documented,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: Some(8),
        text: "Which fields can be joined by `or`?",
        asks: filters::joined_by_or,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: None,
        text: "Which named lists does `in` take, `org-tree` besides `org-group`?",
        asks: filters::named_lists,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: Some(8),
        text: "How is a quote written inside of a string?",
        asks: filters::quotes,
        read: statuses,
        unless: "no list could be read whose filter has a string; that is webhooks",
    },
    Question {
        number: Some(8),
        text: "How are values of each type written?",
        asks: filters::constants,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: None,
        text: "How long may a range of dates be?",
        asks: filters::ranges,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: Some(12),
        text: "Which answers have an ETag?",
        asks: records::single,
        read: records::note_etags,
        unless: NO_LIST,
    },
    Question {
        number: Some(12),
        text: "Is what has not changed answered with 304?",
        asks: records::again_with_etags,
        read: statuses,
        unless: "no answer had an ETag",
    },
    Question {
        number: Some(5),
        text: "What do errors look like?",
        asks: errors::refusals,
        read: errors::shapes,
        unless: NO_LIST,
    },
    Question {
        number: None,
        text: "How is a missing scope answered, with 401 or 403?",
        asks: errors::missing_scope,
        read: errors::shapes,
        unless: "it needs two scopes that read, of different lists, one of which could be read",
    },
    Question {
        number: Some(13),
        text: "How is a request without User-Agent answered?",
        asks: errors::without_user_agent,
        read: errors::shapes,
        unless: NO_LIST,
    },
    Question {
        number: Some(11),
        text: "Which characters may an external reference in a path have?",
        asks: records::path_characters,
        read: statuses,
        unless: NO_LIST,
    },
    Question {
        number: None,
        text: "Are answers compressed for those who accept gzip?",
        asks: service::compressed,
        read: service::encodings,
        unless: NO_LIST,
    },
    // This question is last, since it is about all answers.
    Question {
        number: Some(6),
        text: "Which headers do answers have, and are there limits to the rate?",
        asks: nothing,
        read: service::headers,
        unless: "",
    },
];
