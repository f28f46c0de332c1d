//! Each switch of the simulator is a tenant to tell apart.

use std::collections::BTreeSet;

use simulator::{Settings, Spaces};

use super::findings::{
    ETAGS, FIELDS, GZIP, HEADERS, LISTS, NAMED, OPERATORS, OR, PAGES, PROPERTIES, SCOPE, SPACES,
    TOKEN,
};
use super::found;

/// Which questions a switch of the simulator answers differently, and one of the answers.
type Switch = (
    fn(&mut Settings),
    &'static [&'static str],
    [&'static str; 3],
);

const SWITCHES: [Switch; 11] = [
    (
        |settings| settings.operators_not_documented = true,
        &[OPERATORS],
        [OPERATORS, "clockings kind in", "200"],
    ),
    (
        |settings| settings.filters_not_documented = true,
        &[FIELDS],
        [FIELDS, "people person in (1)", "200"],
    ),
    (
        |settings| settings.org_tree = true,
        &[NAMED],
        [NAMED, "clockings org-tree", "200"],
    ),
    (
        |settings| settings.multiple_fields = vec!["kind".to_owned(), "person".to_owned()],
        &[OR],
        [OR, "clockings person", "200"],
    ),
    (
        |settings| settings.spaces = Spaces::Percent20,
        &[SPACES],
        [SPACES, "clockings +", "400"],
    ),
    // A path is no query: there, a space can only be written in one way.
    (
        |settings| settings.spaces = Spaces::Plus,
        &[SPACES],
        [SPACES, "clockings %20", "400"],
    ),
    (
        |settings| {
            settings.missing_scope_status = 401;
            settings.empty_auth_errors = true;
        },
        &[SCOPE],
        [
            SCOPE,
            "clockings list, with a token of another scope",
            "401, no body",
        ],
    ),
    (
        |settings| settings.page_size = 37,
        &[PAGES],
        [PAGES, "clockings first page", "37 records, and a nextLink"],
    ),
    (
        |settings| settings.gzip = true,
        &[GZIP, HEADERS],
        [GZIP, "clockings list", "200, gzip"],
    ),
    (
        |settings| settings.expires_in = 600,
        &[TOKEN],
        [TOKEN, "life of a token", "600 s"],
    ),
    (
        |settings| {
            settings.withheld_scopes = vec!["connector-protimeapi-contracts.read".to_owned()];
        },
        &[
            TOKEN, LISTS, PAGES, PROPERTIES, OPERATORS, OR, ETAGS, HEADERS,
        ],
        [
            TOKEN,
            "scopes granted of those asked for",
            "all but connector-protimeapi-contracts.read",
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_told_apart() {
    let documented = found(|_| {}).await;
    for (change, questions, [question, asked, seen]) in SWITCHES {
        let found = found(change).await;
        assert_eq!(found.seen(question, asked), seen, "{question} {asked}");
        let expected: BTreeSet<&str> = questions.iter().copied().collect();
        assert_eq!(documented.changed(&found), expected, "{asked}");
    }
}
