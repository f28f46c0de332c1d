//! Chains: how far each request of a run has come.

use connector::store::Counts;
use connector::store::{Chains, PageSent};
use protime::Shape;

fn page(next: Option<&str>) -> PageSent {
    PageSent {
        next: next.map(str::to_owned),
        counts: Counts::default(),
        bytes: 0,
        delta_link: None,
        trail: protime::CycleDetector::default(),
    }
}

#[test]
fn a_chain_has_ended_with_its_last_page() {
    let mut chains = Chains::one("first".to_owned(), Shape::List);
    assert_eq!((chains.finished(), chains.count()), (0, 1));
    chains.page_sent(0, "first", page(Some("second")));
    assert_eq!((chains.finished(), chains.is_finished()), (0, false));
    chains.page_sent(0, "first", page(None));
    assert_eq!((chains.finished(), chains.is_finished()), (1, true));
}

#[test]
fn a_chain_that_begins_again_as_two_is_one_more_to_end() {
    let mut chains = Chains::one("both".to_owned(), Shape::List);
    chains.split(0, "one".to_owned(), 1, "other".to_owned());
    assert_eq!((chains.finished(), chains.count()), (0, 2));
    chains.page_sent(1, "other", page(None));
    assert_eq!((chains.finished(), chains.is_finished()), (1, false));
    chains.page_sent(0, "one", page(None));
    assert_eq!((chains.finished(), chains.is_finished()), (2, true));
}
