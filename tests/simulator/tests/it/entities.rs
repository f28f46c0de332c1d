//! What is special of single entities.

use serde_json::{Value, json};

use crate::protime::{API, MARCH, Protime};

/// Reading is all that there is.
async fn is_read_only(protime: &Protime, collection: &str) {
    for (method, path) in [
        ("POST", collection.to_owned()),
        ("PUT", format!("{collection}/1")),
        ("DELETE", format!("{collection}/1")),
    ] {
        let target = format!("{API}/{path}");
        let answer = protime.call(method, &target, Some(json!({}))).await;
        assert_eq!(answer.status, 405, "{method} {path}");
    }
}

async fn refuses(protime: &Protime, target: &str) {
    assert_eq!(protime.get(target).await.status, 400, "{target}");
}

async fn takes(protime: &Protime, target: &str) {
    let answer = protime.get(target).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
}

async fn webhook(protime: &Protime, collection: &str, query: &str) -> u16 {
    let webhook =
        json!({"destinationUrl": "https://hooks.example.test", "collectionName": collection});
    protime
        .post(&format!("/webhooks{query}"), webhook)
        .await
        .status
}

#[tokio::test]
async fn catalogues_are_read_only_without_filters_deltas_and_webhooks() {
    let protime = Protime::start().await;
    for name in [
        // §departments: Read-only catalog
        // §departments: non-integer id without an external reference gives 400
        "departments",
        // §employers: Read-only catalog
        // §employers: non-integer id without an external reference gives 400
        "employers",
        // §job-categories: Read-only catalog
        // §job-categories: non-integer id without an external reference gives 400
        "job-categories",
        // §jobs: Read-only catalog
        // §jobs: non-integer id without an external reference gives 400
        "jobs",
        // §sectors: Read-only catalog
        "sectors",
        // §work-locations: Read-only catalog
        // §work-locations: non-integer id without an external reference gives 400
        "work-locations",
    ] {
        is_read_only(&protime, name).await;
        refuses(&protime, &format!("/{name}/abc")).await;
        refuses(&protime, &format!("/{name}?filter=name%20eq%20%27a%27")).await;
        refuses(&protime, &format!("/{name}?delta")).await;
        assert_eq!(webhook(&protime, name, "").await, 400, "{name}");
        let references = format!("externalReferences=({name},erp)");
        refuses(&protime, &format!("/{name}?{references}")).await;
        takes(&protime, &format!("/{name}/erp-1?{references}")).await;
    }
}

#[tokio::test]
async fn what_is_recorded_by_terminals_and_of_people_is_only_read() {
    let protime = Protime::start().await;
    // §access-clockings: Read-only
    is_read_only(&protime, "access-clockings").await;
    let listed = protime.get(&format!("/access-clockings?{MARCH}")).await;
    assert!(listed.count() > 0);
    for record in listed.records() {
        let minutes = record["timeOfDayInMinutes"].as_i64().unwrap();
        assert!((0..=1439).contains(&minutes), "{record}");
    }
    // §people: Read-only in everything seen
    is_read_only(&protime, "people").await;
    is_read_only(&protime, "absences").await;
}

#[tokio::test]
async fn definitions_and_groups_differ_in_their_references() {
    let protime = Protime::start().await;
    let people = "externalReferences=(people,@badge-number)";
    let own = |name: &str| format!("externalReferences=({name},payroll)");
    // §absence-definitions: List takes no filter
    refuses(&protime, "/absence-definitions?filter=code%20eq%20%27A%27").await;
    assert_eq!(protime.get("/absence-definitions").await.count(), 12);
    // §absence-definitions: delta: custom external references supported; people cannot be used
    let delta = "/absence-definitions?delta&";
    takes(&protime, &format!("{delta}{}", own("absence-definitions"))).await;
    refuses(&protime, &format!("{delta}{people}")).await;
    // §counter-definitions: list: counter-groups reference
    takes(
        &protime,
        &format!("/counter-definitions?{}", own("counter-groups")),
    )
    .await;
    for name in [
        // §absence-groups: External references work on get-by-id only
        "absence-groups",
        // §shift-definitions: External references on get-by-id only
        "shift-definitions",
        // §break-definitions: Older pages claimed custom references on list and delta
        "break-definitions",
    ] {
        let references = own(name);
        takes(&protime, &format!("/{name}/payroll-1?{references}")).await;
        refuses(&protime, &format!("/{name}?{references}")).await;
        refuses(&protime, &format!("/{name}?delta&{references}")).await;
        let created = webhook(&protime, name, &format!("?{references}")).await;
        assert_eq!(created, 400, "{name}");
    }
}

#[tokio::test]
async fn definitions_differ_in_their_codes() {
    let protime = Protime::start().await;
    let members = async |name: &str| protime.get(&format!("/{name}/1")).await.body;
    // §break-definitions: No code property and no predefined reference
    assert!(members("break-definitions").await["code"].is_null());
    refuses(
        &protime,
        "/break-definitions/BC1?externalReferences=(break-definitions,@break-code)",
    )
    .await;
    // §shift-definitions: No friendlyCode here, unlike absence and counter definitions
    assert!(members("shift-definitions").await["friendlyCode"].is_null());
    for name in ["absence-definitions", "counter-definitions"] {
        let code = &members(name).await["friendlyCode"]["default"];
        assert!(code.is_string(), "{name}");
    }
    // §counter-definitions: Filters are all optional
    takes(&protime, "/counter-definitions").await;
    let enabled = "/counter-definitions?filter=enabled%20eq%20true";
    takes(&protime, enabled).await;
    // §counter-definitions: delta: older page said no filters
    takes(&protime, &format!("{enabled}&delta")).await;
}

#[tokio::test]
async fn activity_definitions_live_below_a_structure_and_a_level() {
    let protime = Protime::start().await;
    // §activity-definitions: Definitions live under a structure version and a level
    for path in [
        "/activity-definitions",
        "/activity-structure-versions",
        "/activity-structure-versions/v/levels/1",
    ] {
        assert_eq!(protime.get(path).await.status, 404, "{path}");
    }
    let levels = "/activity-structure-versions/v/levels/1/activity-definitions";
    // §activity-definitions: Location carries the new GUID
    let created = protime
        .post(levels, json!({"name": {"default": "new"}}))
        .await;
    let id = created.location.rsplit('/').next().unwrap();
    assert_eq!(id.len(), 36);
    let path = format!("{levels}/{id}");
    assert_eq!(protime.get(&path).await.body["id"], id);
    // §activity-definitions: No delete
    assert_eq!(protime.delete(&path).await.status, 405);
    // §activity-definitions: Not in the webhook list and no delta page seen
    refuses(&protime, &format!("{levels}?delta")).await;
    assert_eq!(webhook(&protime, "activity-definitions", "").await, 400);
    // §activity-definitions/restrictions: activity-restrictions is used for the ids inside restrictions
    let references = "externalReferences=(activity-restrictions,@data-entry-code)";
    takes(&protime, &format!("{path}/restrictions?{references}")).await;
    refuses(&protime, &format!("{path}/usages?{references}")).await;
}

#[tokio::test]
async fn scopes_of_collections_whose_own_page_was_not_seen() {
    let mut protime = Protime::start().await;
    for (scope, path) in [
        // §breaks: list: scope page not seen
        ("breaks", format!("/breaks?{MARCH}")),
        // §breaks: get-by-id: scope page not seen
        ("breaks", "/breaks/1".to_owned()),
        // §breaks: delta: scope page not seen
        ("breaks", format!("/breaks?{MARCH}&delta")),
        // §calculated-totals: list: scope string documented
        ("calculated-totals", format!("/calculated-totals?{MARCH}")),
        // §calculated-totals: delta: scope string documented
        (
            "calculated-totals",
            format!("/calculated-totals?{MARCH}&delta"),
        ),
        // §paid-presences: Uses the calculated-totals read scope; no own scope
        ("calculated-totals", format!("/paid-presences?{MARCH}")),
    ] {
        protime
            .login(&format!("connector-protimeapi-{scope}.read"))
            .await;
        takes(&protime, &path).await;
    }
    let own = protime
        .login("connector-protimeapi-paid-presences.read")
        .await;
    assert_eq!(own["error"], "invalid_scope");
}

#[tokio::test]
async fn totals_come_once_a_day_and_have_no_ids_of_their_own() {
    let protime = Protime::start().await;
    // §calculated-totals: One record per person per day
    let listed = protime.get(&format!("/calculated-totals?{MARCH}")).await;
    let whose = |record: &Value| {
        (
            record["person"]["id"].to_string(),
            record["date"].to_string(),
        )
    };
    let mut days: Vec<_> = listed.records().iter().map(whose).collect();
    assert_eq!(days.len(), 5 * 31);
    days.sort();
    days.dedup();
    assert_eq!(days.len(), 5 * 31);
    // §calculated-totals: No get-by-id page seen
    assert_eq!(protime.get("/calculated-totals/1").await.status, 404);
    // §paid-presences: No get-by-id page seen
    assert_eq!(protime.get("/paid-presences/1").await.status, 404);
}

#[tokio::test]
async fn counters_are_filtered_by_their_definition_also_in_a_delta() {
    let protime = Protime::start().await;
    let filtered = |field: &str| format!("{MARCH}%20and%20{field}%20in%20(1)");
    // §counters: delta: counter-definition is listed for delta too
    let delta = format!("/counters?{}&delta", filtered("counter-definition"));
    takes(&protime, &delta).await;
    // §counters: Same filter spelled counter-definitions on old pages and counter-definition on new ones
    refuses(
        &protime,
        &format!("/counters?{}", filtered("counter-definitions")),
    )
    .await;
    // §counters: path and collectionName say counters
    assert_eq!(protime.get("/counter-instances").await.status, 404);
    assert_eq!(webhook(&protime, "counter-instances", "").await, 400);
    assert_eq!(webhook(&protime, "counters", "").await, 201);
}

#[tokio::test]
async fn histories_have_two_paths_for_each_category() {
    let mut protime = Protime::start().await;
    // §historical-fields: Two path templates times six categories
    for category in [
        "department",
        "employer",
        "job",
        "job-category",
        "sector",
        "work-location",
    ] {
        takes(&protime, &format!("/{category}-histories")).await;
        takes(&protime, &format!("/people/1/{category}-history")).await;
    }
    // §historical-fields: list: whole population, cannot be filtered on people
    refuses(&protime, "/job-histories?filter=person%20in%20(1)").await;
    // §historical-fields: No delta and no webhook
    refuses(&protime, "/job-histories?delta").await;
    assert_eq!(webhook(&protime, "historical-fields", "").await, 400);
    // §historical-fields: list-for-person: either scope is enough
    for scope in ["people.read", "people-historical-data.read"] {
        protime
            .login(&format!("connector-protimeapi-{scope}"))
            .await;
        takes(&protime, "/people/1/job-history").await;
    }
}

#[tokio::test]
async fn contracts_have_no_date_filter_and_no_person_in_a_delta() {
    let protime = Protime::start().await;
    let person = "filter=person%20in%20(1)";
    takes(&protime, &format!("/contracts?{person}")).await;
    // §contracts: delta: person filter with delta gives 400
    refuses(&protime, &format!("/contracts?{person}&delta")).await;
    // §contracts: No date filter at all
    refuses(&protime, &format!("/contracts?{MARCH}")).await;
}
