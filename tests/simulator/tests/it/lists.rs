//! Pages, and single records.

use serde_json::json;

use crate::protime::{API, MARCH, Protime};

#[tokio::test]
async fn pages_are_linked_unencoded_and_tokens_fit_their_query_only() {
    let protime = Protime::with(|settings| {
        settings.page_size = 100;
        settings.empty_pages_after = vec![0];
    })
    .await;
    let first = protime.get(&format!("/clockings?{MARCH}")).await;
    let link = first.body["nextLink"].as_str().unwrap();
    // §4: repeats the original query and adds `continuationToken`
    // §4: In the samples `nextLink` is **not percent-encoded**
    let start = format!("{API}/clockings?filter=date ge '2026-03-01'&continuationToken=");
    assert!(link.starts_with(&start), "{link}");
    assert!(link.contains('+') && link.ends_with('='), "{link}");
    // §4: **An empty `value` does not mean the end**
    let second = protime.follow(&first.body["nextLink"]).await;
    assert_eq!(second.count(), 0);
    assert!(second.body["nextLink"].is_string());
    // §4: absence of `nextLink`
    let mut page = second;
    let mut records = first.count();
    while page.body["nextLink"].is_string() {
        page = protime.follow(&page.body["nextLink"]).await;
        records += page.count();
    }
    assert_eq!(records, 310);
    // §4: repeat the query with `continuationToken=<value>`
    let token = link.split("continuationToken=").nth(1).unwrap();
    let token = token.replace('+', "%2B");
    let repeated = format!("/clockings?{MARCH}&continuationToken={token}");
    assert_eq!(protime.get(&repeated).await.status, 200);
    // §13.1: **`409` on a list = the continuation token is invalid or expired**
    for target in [
        repeated.replace("2026-03-01", "2026-03-02"),
        format!("/clockings?{MARCH}&continuationToken=made-up"),
        // §13.1: Employers list: `409` "Conflict"
        "/employers?continuationToken=made-up".to_owned(),
        // §work-interruptions: 409 on list
        format!("/work-interruptions?{MARCH}&continuationToken=made-up"),
        // §13.1: The same on contracts
        "/contracts?continuationToken=made-up".to_owned(),
    ] {
        assert_eq!(protime.get(&target).await.status, 409, "{target}");
    }
}

#[tokio::test]
async fn single_records_are_found_by_id() {
    let protime = Protime::start().await;
    assert_eq!(protime.get("/people/3").await.body["id"], 3);
    assert_eq!(protime.get("/people/99").await.status, 404);
    // §13.1: "Invalid external reference specification
    assert_eq!(protime.get("/departments/abc").await.status, 400);
}

#[tokio::test]
async fn records_are_shaped_as_documented() {
    let protime = Protime::start().await;
    let clockings = protime.get(&format!("/clockings?{MARCH}")).await;
    for clocking in clockings.records() {
        let has = |name: &str| clocking.get(name).is_some();
        let kind = clocking["kind"].as_str().unwrap();
        assert_eq!(
            has("reason") && has("isOpen"),
            kind == "Reason",
            "{clocking}"
        );
        assert_eq!(has("activityLevels"), kind == "Activity", "{clocking}");
        // As in the samples.
        assert_eq!(clocking["changeVersion"].as_str().unwrap().len(), 20);
    }
    for (path, category) in [
        ("/department-histories", "department"),
        ("/people/2/job-category-history", "jobCategory"),
        ("/work-location-histories", "workLocation"),
    ] {
        let histories = protime.get(path).await;
        let history = &histories.records()[0];
        assert!(history[category]["id"].is_u64(), "{path}: {history}");
        // §1.2: `YYYY-MM-DD` strings
        let from = history["from"].as_str().unwrap();
        assert!(from.len() == 10 && from.starts_with("2020-"), "{from}");
        // §1.2: `until` null or absent
        assert!(history["until"].is_null());
    }
    assert_eq!(protime.get("/colour-histories").await.status, 404);
    let contract = &protime.get("/contracts/1").await.body;
    assert!(contract["from"].as_str().unwrap().starts_with("2020-"));
    let definition = &protime.get("/absence-definitions/1").await.body;
    assert!(definition["allowedDurations"].is_array());
    // §1.2: { "default": "…", "translations": { "en-GB": "…", "fr-FR": "…" } }
    assert!(definition["name"]["default"].is_string());
    assert!(definition["name"]["translations"]["fr-FR"].is_string());
    // §1: Integer or GUID depending on the collection
    let levels = "/activity-structure-versions/v/levels/1/activity-definitions";
    let definitions = protime.get(levels).await;
    assert_eq!(definitions.records()[0]["id"].as_str().unwrap().len(), 36);
    // §3.3: `expand=usage,restrictions`
    // §activity-definitions: get-by-id: expand example
    let id = definitions.records()[0]["id"].as_str().unwrap();
    let expand = async |names: &str| {
        protime
            .get(&format!("{levels}/{id}?expand={names}"))
            .await
            .status
    };
    assert_eq!(expand("usage,restrictions").await, 200);
    assert_eq!(expand("colour").await, 400);
    assert_eq!(json!(definitions.count()), json!(12));
}

#[tokio::test]
async fn some_lists_need_no_filter() {
    let protime = Protime::start().await;
    // §3.1: Without mandatory filter: departments, employers, job categories, historical-field lists
    for list in [
        "departments",
        "employers",
        "job-categories",
        "employer-histories",
        "absence-definitions",
        "break-definitions",
        "counter-definitions",
        "shift-definitions",
        "contracts",
        // §people: list: filter table not visible; an unfiltered list is described on the older page
        "people",
    ] {
        let answer = protime.get(&format!("/{list}")).await;
        assert_eq!(answer.status, 200, "{list}");
        // §1.2: List envelope
        assert!(answer.count() > 0 && answer.body["nextLink"].is_null());
    }
}

#[tokio::test]
async fn a_continuation_token_can_make_the_target_too_long() {
    let protime = Protime::with(|settings| settings.page_size = 10).await;
    let ids = vec!["1"; 1_970].join(",");
    let first = protime
        .get(&format!("/clockings?{MARCH}%20and%20person%20in%20({ids})"))
        .await;
    assert_eq!(first.status, 200);
    // §4: A long continuation token can push the URI over the limit → `414`
    assert_eq!(protime.follow(&first.body["nextLink"]).await.status, 414);
}
