//! External references.

use serde_json::{Value, json};

use crate::protime::{MARCH, Protime};

#[tokio::test]
async fn references_come_beside_ids() {
    let protime = Protime::start().await;
    // §8.2: Several, concatenated **without separator**
    // §8.2: each matching nested object gets an `externalReferences` object beside `id`
    let listed = protime
        .get(&format!("/clockings?{MARCH}&externalReferences=(people,@employee-number)(terminals,@external-code)"))
        .await;
    let first = &listed.records()[0];
    let person = json!({"id": 1, "externalReferences": {"@employee-number": "E00001"}});
    assert_eq!(first["person"], person);
    assert!(first["terminal"]["externalReferences"]["@external-code"].is_string());
    // §8.2: One: `?externalReferences=(people,@badge-number)`
    // §8.3: GET …/departments/789?externalReferences=(departments,CustomReferenceName)
    let person = protime
        .get("/people/0000004?externalReferences=(people,@badge-number)")
        .await;
    assert_eq!(person.body["id"], 4);
    assert_eq!(
        person.body["externalReferences"],
        json!({"@badge-number": "0000004"})
    );
    // §8.1: Predefined | `@` | Protime field
    assert_eq!(person.body["badgeNumber"], "0000004");
    // §8.3: unknown value → `404`
    let unknown = protime
        .get("/people/1234567?externalReferences=(people,@badge-number)")
        .await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn what_is_not_supported_is_refused() {
    let protime = Protime::start().await;
    for (path, references) in [
        // §8.1: Before 05/05/2025: `badge` instead of `badge-number`, `persons` instead of
        ("/people", "(persons,@badge)"),
        ("/people", "(people,@badge)"),
        // §8.3: an unsupported predefined one → `400`
        ("/departments/1", "(departments,@code)"),
        ("/departments/1", "(people,@badge-number)"),
        (
            "/access-clockings/1",
            "(activity-definitions,@data-entry-code)",
        ),
        ("/people", "people,@badge-number"),
        ("/people", "(people)"),
        ("/people", "(people,@badge-number),(people,x)"),
        // §8.6: G3 says these do **not** support any
        ("/break-definitions", "(break-definitions,payroll)"),
        ("/counter-groups?delta", "(counter-groups,payroll)"),
        ("/break-definitions?delta", "(break-definitions,payroll)"),
        // §13.1: custom references of the entity type asked for
        ("/department-histories", "(jobs,erp)"),
    ] {
        let joined = if path.contains('?') { '&' } else { '?' };
        let answer = protime
            .get(&format!("{path}{joined}externalReferences={references}"))
            .await;
        assert_eq!(answer.status, 400, "{path} {references}");
    }
    // §13.1: Absences: references of `people`, `shift-definitions` (@shift-code), `absence-definitions`
    for reference in [
        "(people,@badge-number)",
        "(shift-definitions,@shift-code)",
        "(absence-definitions,payroll)",
    ] {
        let answer = protime
            .get(&format!("/absences/1?externalReferences={reference}"))
            .await;
        assert_eq!(answer.status, 200, "{reference}");
    }
    // §13.1: (closes breaks and calculated totals)
    for collection in ["breaks", "calculated-totals"] {
        let answer = protime
            .get(&format!(
                "/{collection}?{MARCH}&externalReferences=(people,@badge-number)"
            ))
            .await;
        assert_eq!(answer.status, 200, "{collection}");
    }
}

#[tokio::test]
async fn references_are_asked_for_in_four_places() {
    let protime = Protime::start().await;
    let asked = "externalReferences=(people,@employee-number)";
    let reference =
        |record: &Value| record["person"]["externalReferences"]["@employee-number"].clone();
    // §8.2: Usable on single, list and delta GETs and on webhook creation
    let single = protime.get(&format!("/clockings/1?{asked}")).await;
    assert_eq!(reference(&single.body), "E00001");
    for target in [
        format!("/clockings?{MARCH}&{asked}"),
        format!("/clockings?{MARCH}&delta&{asked}"),
    ] {
        let listed = protime.get(&target).await;
        assert_eq!(reference(&listed.records()[0]), "E00001", "{target}");
    }
    let webhook = |collection: &str| json!({"destinationUrl": "https://hooks.example.test", "collectionName": collection});
    let path = format!("/webhooks?{asked}");
    let created = protime.post(&path, webhook("clockings")).await;
    // §6.1: `externalReferences` | object
    let read = protime.call("GET", &created.location, None).await;
    assert_eq!(
        read.body["externalReferences"]["people"],
        "@employee-number"
    );
    // §13.1: counter-group and break-definition events carry no external references
    for collection in ["counter-groups", "break-definitions"] {
        let path = format!("/webhooks?externalReferences=({collection},payroll)");
        let refused = protime.post(&path, webhook(collection)).await;
        assert!(refused.reason().contains("not supported"), "{collection}");
    }
}

#[tokio::test]
async fn histories_carry_the_references_of_their_category() {
    let protime = Protime::start().await;
    for (path, collection, category) in [
        ("department-histories", "departments", "department"),
        ("job-category-histories", "job-categories", "jobCategory"),
        ("work-location-histories", "work-locations", "workLocation"),
    ] {
        let target = format!("/{path}?externalReferences=({collection},erp)");
        let listed = protime.get(&target).await;
        // §13.1: custom references of the entity type asked for
        let reference = &listed.records()[0][category]["externalReferences"]["erp"];
        assert!(reference.is_string(), "{target}: {}", listed.body);
    }
}

#[tokio::test]
async fn bodies_may_name_references() {
    let protime = Protime::start().await;
    let clocking = |person: Value| json!({"person": person, "date": "2026-03-31", "timeOfDayInMinutes": 500, "kind": "InOut"});
    // §8.4: Replace the id by references
    let person = json!({"externalReferences": {"@badge-number": "0000002"}});
    let created = protime.post("/clockings", clocking(person)).await;
    let read = protime.call("GET", &created.location, None).await;
    // §1.2: References to other objects
    assert_eq!(read.body["person"], json!({"id": 2}));
    let unknown = json!({"externalReferences": {"@badge-number": "1234567"}});
    assert!(
        protime
            .post("/clockings", clocking(unknown))
            .await
            .reason()
            .contains("unknown")
    );
    let both = json!({"id": 2, "externalReferences": {"@badge-number": "0000002"}});
    assert!(
        protime
            .post("/clockings", clocking(both))
            .await
            .reason()
            .contains("either")
    );
}

#[tokio::test]
async fn an_upsert_by_reference_finds_what_it_created() {
    let protime = Protime::start().await;
    let levels = "/activity-structure-versions/v/levels/1/activity-definitions";
    let definition = |name: &str| json!({"name": {"default": name}, "externalReference": "P-100", "parent": {"id": "00000000-0000-4000-8000-000000000001"}});
    for reference in ["@external-reference", "erp"] {
        let path = format!("{levels}/P-100?externalReferences=(activity-definitions,{reference})");
        if reference == "@external-reference" {
            // §9: Some PUTs create when the reference is unknown: `200` updated, `201` created
            assert_eq!(protime.get(&path).await.status, 404);
            // §7.1: created (upsert endpoints)
            assert_eq!(protime.put(&path, definition("first")).await.status, 201);
        }
    }
    let path =
        format!("{levels}/P-100?externalReferences=(activity-definitions,@external-reference)");
    let created = protime.get(&path).await;
    assert_eq!(created.body["name"]["default"], "first");
    // §9: activity definition `parent` counts at creation only
    let mut moved = definition("second");
    moved["parent"]["id"] = json!("00000000-0000-4000-8000-000000000002");
    assert_eq!(protime.put(&path, moved).await.status, 200);
    let updated = protime.get(&path).await;
    assert_eq!(updated.body["id"], created.body["id"]);
    assert_eq!(updated.body["name"]["default"], "second");
    assert_eq!(updated.body["parent"], created.body["parent"]);
    // §activity-definitions: upsert: by external reference: update or create
    // §9: creation by PUT only with an **external reference** in the path; an unknown internal GUID → `404`
    let by_id = format!("{levels}/00000000-0000-4000-8000-00000000ffff");
    assert_eq!(
        protime
            .put(&by_id, json!({"name": {"default": "x"}}))
            .await
            .status,
        404
    );
    // §9: `dataEntryCode` and `externalReference` of an activity definition: 16 characters
    let mut long = definition("long");
    long["externalReference"] = json!("12345678901234567");
    assert!(
        protime
            .post(levels, long)
            .await
            .reason()
            .contains("16 characters")
    );
    assert!(
        protime
            .post(levels, definition("double"))
            .await
            .reason()
            .contains("another definition")
    );
}

#[tokio::test]
async fn predefined_references_are_those_of_the_documentation() {
    let protime = Protime::start().await;
    let definitions = "activity-structure-versions/v/levels/1/activity-definitions";
    let definition = format!("{definitions}/00000000-0000-4000-8000-000000000001");
    let clocking = "clockings/1";
    for (path, collection, reference) in [
        // §8.1: `@absence-code`
        // §absence-definitions: get-by-id: reference = internal id or external reference
        (
            "absence-definitions/AC1",
            "absence-definitions",
            "@absence-code",
        ),
        // §8.1: `@counter-code`
        (
            "counter-definitions/CC1",
            "counter-definitions",
            "@counter-code",
        ),
        // §8.1: `@badge-number`, `@employee-number`
        ("people/0000001", "people", "@badge-number"),
        ("people/E00001", "people", "@employee-number"),
        // §8.1: `@shift-code`
        ("shift-definitions/SC1", "shift-definitions", "@shift-code"),
        // §8.1: `@data-entry-code`, `@external-reference`
        (
            &format!("{definitions}/DEC1"),
            "activity-definitions",
            "@data-entry-code",
        ),
        (
            &format!("{definitions}/ER1"),
            "activity-definitions",
            "@external-reference",
        ),
        // §8.1: `@external-code`
        (clocking, "terminals", "@external-code"),
        // §8.1: third party, key-value
        ("departments/erp-1", "departments", "erp"),
    ] {
        let target = format!("/{path}?externalReferences=({collection},{reference})");
        let answer = protime.get(&target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    }
    // §8.3: `GET …/departments/456` → internal id
    assert_eq!(protime.get("/departments/1").await.status, 200);
    assert_eq!(protime.get(&format!("/{definition}")).await.status, 200);
}

#[tokio::test]
async fn a_record_without_a_reference_comes_without() {
    let protime = Protime::start().await;
    let levels = "/activity-structure-versions/v/levels/1/activity-definitions";
    let created = protime
        .post(levels, json!({"name": {"default": "no code"}}))
        .await;
    let target = format!("{levels}?externalReferences=(activity-definitions,@data-entry-code)");
    let listed = protime.get(&target).await;
    let id = created.location.rsplit('/').next().unwrap();
    let record = listed
        .records()
        .iter()
        .find(|record| record["id"] == id)
        .unwrap();
    // §8.6: a missing value does not fail but yields objects without a reference
    assert_eq!(record["externalReferences"], json!({}));
}
