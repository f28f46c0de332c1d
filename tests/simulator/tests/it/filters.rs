//! The filter language, and what collections demand of their filters.

use simulator::Spaces;

use crate::protime::{Answer, Protime};

async fn filtered(protime: &Protime, collection: &str, filter: &str) -> Answer {
    let filter = filter.replace(' ', "%20").replace('\'', "%27");
    protime.get(&format!("/{collection}?filter={filter}")).await
}

#[tokio::test]
async fn filters_are_applied() {
    let protime = Protime::start().await;
    let count = async |filter: &str| {
        let answer = filtered(&protime, "clockings", filter).await;
        assert_eq!(answer.status, 200, "{filter}: {}", answer.body);
        answer.count()
    };
    // Five people, two clockings a day.
    // §3.1: `ge`, `le` | `date ge '2024-01-01'`
    // §7.1: GET | 200 | success
    assert_eq!(count("date ge '2026-03-01'").await, 310);
    // §3.1: person in (1, 2, 3)
    // §3.1: `and` | `person in (1,2,3) and date ge '2024-01-01'`
    let days = "date ge '2026-03-01' and date le '2026-03-02'";
    assert_eq!(count(&format!("{days} and person in (2,3)")).await, 8);
    // §3.1: person in circle(2, 8)
    assert_eq!(count(&format!("{days} and person in circle(4)")).await, 4);
    // §3.1: A space between list name and parenthesis is accepted
    assert_eq!(
        // §3.1: person in org-group(121, 122)
        count(&format!("{days} and person in org-group (4)")).await,
        4
    );
    // §3.1: condition: a simple condition, or a parenthesised expression
    // §3.1: expression: one or more terms joined by `or`
    // §3.1: (kind eq 'Activity' or kind eq 'Absence') and date ge '2024-01-01'
    // §3.1: `eq` | `kind eq 'Activity'`
    let one = count("date ge '2026-03-01' and kind eq 'Reason'").await;
    let other = count("date ge '2026-03-01' and kind eq 'Activity'").await;
    // §3.1: `or` | `kind eq 'Activity' or kind eq 'Absence'`
    let both = "(kind eq 'Reason' or kind eq 'Activity') and date ge '2026-03-01'";
    assert!(one > 0 && other > 0);
    assert_eq!(count(both).await, one + other);
}

#[tokio::test]
async fn and_binds_tighter_than_or_and_constants_are_of_three_kinds() {
    let protime =
        Protime::with(|settings| settings.multiple_fields.push("person".to_owned())).await;
    let count = async |collection: &str, filter: &str| {
        let answer = filtered(&protime, collection, filter).await;
        assert_eq!(answer.status, 200, "{filter}: {}", answer.body);
        answer.count()
    };
    let march = "date ge '2026-03-01'";
    let one = count("clockings", &format!("{march} and kind eq 'Reason'")).await;
    let own = "kind eq 'Activity' and person in (2)";
    let other = count("clockings", &format!("{march} and {own}")).await;
    // §3.1: so `and` binds tighter
    let both = format!("{march} and (kind eq 'Reason' or {own})");
    assert!(other > 0);
    assert_eq!(count("clockings", &both).await, one + other);
    // §3.1: constant is an integer, string or bool
    let enabled = count("counter-definitions", "enabled eq true").await;
    let disabled = count("counter-definitions", "enabled eq false").await;
    assert!(enabled > 0 && disabled > 0);
    assert_eq!(enabled + disabled, 12);
}

#[tokio::test]
async fn what_the_grammar_lacks_cannot_be_read() {
    let protime = Protime::start().await;
    for filter in [
        // §3.1: missing or malformed → `400`
        "",
        // §3.1: **not part of the grammar**
        // §3.1: operator is one of `eq ge le in`
        "date gt '2026-03-01'",
        "date ge '2026-03-01' and not kind eq 'InOut'",
        // §3.1: Strings and dates are in single quotes, integers bare
        "date ge 2026-03-01",
        // §3.1: list: optional list name, then a parenthesised, comma-separated, non-empty list of constants
        "date ge '2026-03-01' and person in ()",
        "date ge '2026-03-01' and person in (1 2)",
    ] {
        let answer = filtered(&protime, "clockings", filter).await;
        assert!(answer.reason().contains("cannot be read"), "{filter}");
    }
}

#[tokio::test]
async fn what_a_collection_does_not_take_is_refused() {
    let protime = Protime::start().await;
    for (collection, filter, why) in [
        // §3.1: Most list endpoints demand at least one filter
        ("clockings", "person in (1)", "date is required"),
        // §3.1: Strings and dates are in single quotes, integers bare
        (
            "clockings",
            "date ge '2026-03-01' and person in ('1')",
            "wrong type",
        ),
        ("clockings", "date ge '2026-03-32'", "wrong type"),
        ("clockings", "date ge '01/03/2026'", "wrong type"),
        // §3.1: Field names are kebab-case and differ from the JSON property
        (
            "clockings",
            "date ge '2026-03-01' and terminal in (1)",
            "not a filter",
        ),
        // §3.1: `or` works only on fields of constraint category **Multiple**
        (
            "clockings",
            "date ge '2026-03-01' or date ge '2026-03-02'",
            "joined by or",
        ),
        (
            "clockings",
            "date ge '2026-03-01' and (person in (1) or kind eq 'InOut')",
            "joined by or",
        ),
        // What the pages do not show with the field.
        ("clockings", "date eq '2026-03-01'", "operator"),
        (
            "clockings",
            // §3.1: person in org-tree(121, 122)
            "date ge '2026-03-01' and person in org-tree(4)",
            "no list",
        ),
        ("people", "person in (1)", "no filter"),
        ("departments", "person in (1)", "not a filter"),
        // §3.1: `counter-definitions`, `collection-name`, `status`, `kind`, `date`
        ("webhooks", "status eq 'Uninitialized'", "wrong type"),
    ] {
        let answer = filtered(&protime, collection, filter).await;
        let reason = answer.reason();
        assert!(reason.contains(why), "{collection} {filter}: {reason}");
    }
    // §7.1: any | 400
    // §7.2: Filter/business-rule rejection: the same plus `reasons`
    let refused = protime.get("/clockings").await;
    assert_eq!(refused.body["error"]["code"], "BadRequest");
    assert!(refused.body["error"]["message"].is_string());
    assert_eq!(refused.reason(), "date is required, with a start");
}

#[tokio::test]
async fn what_the_pages_leave_open_is_a_switch() {
    let protime = Protime::with(|settings| {
        settings.operators_not_documented = true;
        settings.filters_not_documented = true;
        settings.org_tree = true;
        settings.multiple_fields.push("person".to_owned());
    })
    .await;
    for (collection, filter) in [
        ("clockings", "date eq '2026-03-01'"),
        (
            "clockings",
            "date ge '2026-03-01' and (person in org-tree(4) or person in (1))",
        ),
        ("people", "person in (1)"),
    ] {
        let answer = filtered(&protime, collection, filter).await;
        assert_eq!(answer.status, 200, "{filter}: {}", answer.body);
    }
}

#[tokio::test]
async fn ranges_of_dates_have_limits() {
    let protime = Protime::start().await;
    let status =
        async |collection: &str, filter: &str| filtered(&protime, collection, filter).await.status;
    // §3.2: `date` mandatory, span at most **1 year**
    let year = "date ge '2025-01-01' and date le '2025-12-31'";
    assert_eq!(status("clockings", year).await, 200);
    let longer = "date ge '2025-01-01' and date le '2026-01-02'";
    assert_eq!(status("clockings", longer).await, 400);
    assert_eq!(status("counters", longer).await, 400);
    // Both ends hold: the earlier one counts.
    let inside = format!("{longer} and (date le '2025-12-31')");
    assert_eq!(status("clockings", &inside).await, 200);
    // §3.2: a maximum is not stated
    assert_eq!(status("assignments", longer).await, 200);
    // An open end is today's: 31 March 2026.
    assert_eq!(status("clockings", "date ge '2025-04-01'").await, 200);
    assert_eq!(status("clockings", "date ge '2025-03-31'").await, 400);
    assert_eq!(status("clockings", "date le '2026-03-01'").await, 400);

    let delta = async |filter: &str| {
        let filter = filter.replace(' ', "%20");
        protime
            .get(&format!("/clockings?filter={filter}&delta"))
            .await
            .status
    };
    // §3.2: earliest start **1 January of the previous year**
    assert_eq!(delta("date ge '2025-01-01'").await, 200);
    assert_eq!(delta("date ge '2024-12-31'").await, 400);
    assert_eq!(delta(longer).await, 400);
    assert_eq!(delta("").await, 400);
    // §3.2: `person` in a delta
    // §5.2: `person` filter not allowed; dated collections need `date ge`
    assert_eq!(delta("date ge '2025-01-01' and person in (1)").await, 400);
}

#[tokio::test]
async fn spaces_are_written_in_either_way_or_in_one() {
    let target = |space: &str| format!("/clockings?filter=date{space}ge{space}%272026-03-01%27");
    for (spaces, percent, plus) in [
        (Spaces::Both, 200, 200),
        // §13.1: G3 samples encode spaces as `%20` and leave quotes literal
        (Spaces::Percent20, 200, 400),
        (Spaces::Plus, 400, 200),
    ] {
        let protime = Protime::with(|settings| settings.spaces = spaces).await;
        assert_eq!(protime.get(&target("%20")).await.status, percent);
        assert_eq!(protime.get(&target("+")).await.status, plus);
    }
}
