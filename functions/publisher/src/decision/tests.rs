use jiff::ToSpan;
use protime::Refusal;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const SETTLE: SignedDuration = SignedDuration::from_secs(30);

fn refusal(status: u16) -> Error {
    Error::Refused(Box::new(Refusal {
        method: Method::Put,
        path: "/x".to_owned(),
        status,
        code: Some("Code".to_owned()),
        message: "No.".to_owned(),
        reasons: vec!["why".to_owned()],
        validation_errors: Vec::new(),
        retry_after: None,
        is_continuation: false,
        granted: None,
        tenant_mismatch: None,
    }))
}

fn transport(sent: bool) -> Error {
    Error::Transport {
        request: "PUT /x".to_owned(),
        reason: "broken".to_owned(),
        sent,
    }
}

fn since(time: Timestamp) -> Waiting {
    Waiting {
        uncertain: Some(time),
        ..Waiting::default()
    }
}

#[test]
fn every_status_means_what_design_and_documentation_say() {
    for status in 300..600 {
        let expected = match status {
            503 | 429 | 425 => Failure::Unavailable,
            500..600 | 408 => Failure::Uncertain,
            409 => Failure::Conflict,
            _ => Failure::Refused,
        };
        assert_eq!(
            classify(&refusal(status), Method::Put),
            expected,
            "{status}"
        );
    }
    for method in [Method::Post, Method::Delete] {
        assert_eq!(classify(&refusal(409), method), Failure::Refused);
    }
}

#[test]
fn errors_without_a_status_tell_whether_anything_was_sent() {
    let content = Error::Content {
        request: "PUT /x".to_owned(),
        status: 200,
        problem: "text/html".to_owned(),
        truncated: false,
    };
    let too_large = Error::TooLarge {
        request: "PUT /x".to_owned(),
        limit: 1,
    };
    let rejected = Error::ClientRejected {
        settings: "secret `a`".to_owned(),
        code: "invalid_client".to_owned(),
    };
    for (error, expected) in [
        (transport(true), Failure::Uncertain),
        (transport(false), Failure::Unavailable),
        (content, Failure::Uncertain),
        (too_large, Failure::Uncertain),
        (rejected, Failure::Unavailable),
        (Error::BaseUriChanged, Failure::Unavailable),
    ] {
        assert_eq!(classify(&error, Method::Post), expected, "{error}");
        let late = Error::Deadline {
            attempts: 1,
            last: Box::new(error),
        };
        assert_eq!(classify(&late, Method::Post), expected, "{late}");
    }
}

#[test]
fn what_is_uncertain_is_repeated_looked_up_or_parked() {
    let rule = LookUp {
        date: "date",
        minutes: Vec::new(),
        identity: Vec::new(),
        equal: Vec::new(),
    };
    let look_up = AfterLostResponse::LookUp(rule.clone());
    let now = NOW + 10.seconds();
    for after in [
        &AfterLostResponse::Park,
        &AfterLostResponse::Repeat,
        &look_up,
    ] {
        assert_eq!(step(None, after, now, SETTLE), Step::Send);
    }
    let step = |after, now| step(Some(NOW), after, now, SETTLE);
    assert_eq!(
        step(&AfterLostResponse::Park, now),
        Step::Park(Unknown::NoLookUp)
    );
    let rest = SignedDuration::from_secs(20);
    assert_eq!(step(&AfterLostResponse::Repeat, now), Step::Wait(rest));
    let later = NOW + 30.seconds();
    assert_eq!(step(&AfterLostResponse::Repeat, later), Step::Send);
    let before = NOW - 1.hour();
    assert_eq!(step(&AfterLostResponse::Repeat, before), Step::Wait(SETTLE));
    let expected = Step::LookUp {
        rule: &rule,
        since: NOW,
    };
    assert_eq!(step(&look_up, now), expected);
}

#[test]
fn a_lost_answer_counts_from_when_it_was_lost() {
    let later = NOW + 6.seconds();
    let after = after_failure(&refusal(524), Method::Post, &Waiting::default(), later);
    assert_eq!(after, AfterFailure::Defer(since(later)));
    let after = after_failure(&refusal(503), Method::Post, &since(NOW), later);
    assert_eq!(
        after,
        AfterFailure::Defer(since(NOW)),
        "what is uncertain stays so"
    );
}

#[test]
fn conflicts_are_counted() {
    let mut waiting = Waiting::default();
    for conflicts in 1..=MOST_CONFLICTS {
        let after = after_failure(&refusal(409), Method::Put, &waiting, NOW);
        let AfterFailure::Defer(next) = after else {
            panic!("{after:?}")
        };
        assert_eq!(next.conflicts, conflicts);
        waiting = next;
    }
    let AfterFailure::Park(letter) = after_failure(&refusal(409), Method::Put, &waiting, NOW)
    else {
        panic!("it is refused")
    };
    assert_eq!(letter.reason, Reason::Refused);
}

#[test]
fn a_refusal_of_a_repetition_is_not_one_of_the_write() {
    let parked = |status, method, before: &Waiting| match after_failure(
        &refusal(status),
        method,
        before,
        NOW,
    ) {
        AfterFailure::Park(letter) => letter,
        other => panic!("{status}: {other:?}"),
    };
    for status in [400, 401, 403, 404, 410, 422] {
        let letter = parked(status, Method::Put, &Waiting::default());
        assert_eq!(letter.reason, Reason::Refused);
        assert!(letter.message.contains("No."), "{}", letter.message);
        let letter = parked(status, Method::Put, &since(NOW));
        assert_eq!(letter.reason, Reason::UnknownOutcome);
        assert!(letter.message.contains("No."), "{}", letter.message);
        assert_eq!(letter.answer.unwrap().status, status);
    }
    let deleted =
        |status, before: &Waiting| after_failure(&refusal(status), Method::Delete, before, NOW);
    assert_eq!(deleted(404, &since(NOW)), AfterFailure::AlreadyDeleted);
    assert_eq!(deleted(400, &since(NOW)), AfterFailure::CheckDeletion);
    assert!(matches!(
        deleted(404, &Waiting::default()),
        AfterFailure::Park(_)
    ));
}

#[test]
fn a_look_up_settles_sends_waits_or_parks() {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let (none, one, two) = (ids(&[]), ids(&["1"]), ids(&["1", "2"]));
    let found = |has_similar| Found {
        equal: Vec::new(),
        has_similar,
    };
    let after = |has_similar, unclaimed, began| {
        let after = after_look_up(&found(has_similar), unclaimed, NOW, began, SETTLE);
        format!("{after:?}")
    };
    let later = NOW + 30.seconds();
    assert_eq!(after(false, &one, NOW), r#"Settle("1")"#);
    assert_eq!(after(true, &one, NOW), r#"Settle("1")"#);
    assert_eq!(after(false, &two, later), "Park(Several)");
    assert_eq!(after(true, &none, later), "Park(Similar)");
    assert_eq!(after(false, &none, NOW), "Wait(30s)");
    assert_eq!(after(false, &none, later), "Send");
}

#[test]
fn a_look_up_that_is_refused_ends_and_its_own_limit_is_no_outage() {
    for status in [400, 401, 403, 404, 414] {
        assert!(!look_up_may_pass(&refusal(status)), "{status}");
    }
    for status in [408, 409, 425] {
        assert!(look_up_may_pass(&refusal(status)), "{status}");
    }
    for status in [429, 500, 503] {
        assert!(look_up_may_pass(&refusal(status)), "{status}");
        assert!(!is_own_limit(&refusal(status)));
        assert!(trouble(&refusal(status)).is_some());
    }
    let late = Error::Deadline {
        attempts: 1,
        last: Box::new(transport(true)),
    };
    assert!(look_up_may_pass(&late) && is_own_limit(&late));
    assert_eq!(trouble(&refusal(400)), None, "Protime answered");
}
