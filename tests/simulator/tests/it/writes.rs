//! Creating, updating and deleting.

use serde_json::{Value, json};

use crate::protime::{API, Protime};

fn clocking(changes: &Value) -> Value {
    let mut clocking = json!({"person": {"id": 2}, "date": "2026-03-30", "timeOfDayInMinutes": 510, "kind": "InOut"});
    for (name, value) in changes.as_object().unwrap() {
        clocking[name] = value.clone();
    }
    clocking
}

fn assignment(changes: &Value) -> Value {
    let levels =
        json!([{"level": 1, "activityDefinition": {"id": "00000000-0000-4000-8000-000000000001"}}]);
    let mut assignment =
        json!({"person": {"id": 1}, "from": "2026-03-31", "activityLevels": levels});
    for (name, value) in changes.as_object().unwrap() {
        assignment[name] = value.clone();
    }
    assignment
}

#[tokio::test]
async fn a_clocking_is_created_and_read_back() {
    let protime = Protime::start().await;
    let place = json!({"longitude": 4.392_225_123, "latitude": 51.144_127});
    let sent = clocking(&json!({"geolocation": place, "status": "Deleted", "id": 7}));
    // §9: `201` + `Location`; id = last segment
    let created = protime.post("/clockings", sent).await;
    // §7.1: POST | 201 | created
    assert_eq!(created.status, 201);
    // §1.1: `Location` | response, on `201`
    // §clockings: create: Location header points at the new clocking
    assert!(created.location.starts_with(&format!("{API}/clockings/")));
    let read = protime.call("GET", &created.location, None).await.body;
    assert_ne!(read["id"], 7, "read-only");
    assert_eq!(read["status"], "Active", "read-only");
    // Filled in by the server, and written differently.
    assert_eq!(read["isGenerated"], false);
    // §9: the newer one sends numbers as `longitude` 4.392225 / `latitude` 51.144127
    assert_eq!(
        read["geolocation"],
        json!({"longitude": 4.39223, "latitude": 51.14413})
    );
}

#[tokio::test]
async fn the_schedule_changes_the_day() {
    let read_back = async |protime: &Protime, date: &str, minutes: i64| {
        let sent = clocking(&json!({"date": date, "timeOfDayInMinutes": minutes}));
        let created = protime.post("/clockings", sent).await;
        let read = protime.call("GET", &created.location, None).await.body;
        (read["date"].clone(), read["timeOfDayInMinutes"].clone())
    };
    let protime = Protime::start().await;
    // §9: send the real clock time (0…1439) and let the schedule choose the day
    // §clockings: Overnight work
    // §13.1: **Overnight, standard approach: the schedule changes the day.**
    assert_eq!(
        read_back(&protime, "2026-02-13", 1320).await,
        (json!("2026-02-14"), json!(-120))
    );
    assert_eq!(
        read_back(&protime, "2026-02-14", 360).await,
        (json!("2026-02-14"), json!(360))
    );
    // §13.1: Override approach only where the schedule cannot decide
    assert_eq!(
        read_back(&protime, "2026-02-14", -120).await,
        (json!("2026-02-14"), json!(-120))
    );
    assert_eq!(
        read_back(&protime, "2026-02-13", 1800).await,
        (json!("2026-02-13"), json!(1800))
    );
    let other = Protime::with(|settings| settings.schedule_moves_overnight = false).await;
    assert_eq!(
        read_back(&other, "2026-02-13", 1320).await,
        (json!("2026-02-13"), json!(1320))
    );
}

#[tokio::test]
async fn an_invalid_model_is_refused_without_an_error_wrapper() {
    let protime = Protime::start().await;
    let errors = async |body: Value| {
        let answer = protime.post("/clockings", body).await;
        // §7.2: Model validation (missing field, undeserialisable JSON): **no `error` wrapper**
        assert_eq!((answer.status, answer.body["error"].is_null()), (400, true));
        assert!(answer.body["code"].is_string() && answer.body["message"].is_string());
        answer.body["validationErrors"].clone()
    };
    let missing = json!([
        "date is required",
        "timeOfDayInMinutes is required",
        "kind is not valid"
    ]);
    assert_eq!(
        errors(json!({"person": {"id": 1}, "kind": "Dance"})).await,
        missing
    );
    for (name, value, error) in [
        // §1.2: clockings and assignments accept −1440…2880
        ("timeOfDayInMinutes", json!(2881), " is not valid"),
        ("timeOfDayInMinutes", json!(-1441), " is not valid"),
        // §1.2: **integers, minutes since midnight**
        ("timeOfDayInMinutes", json!("8:30"), " is not valid"),
        (
            "geolocation",
            json!({"longitude": "4.392225"}),
            ".longitude is not valid",
        ),
        (
            "reason",
            json!({"id": 1}),
            " comes with the kind Reason only",
        ),
        ("isOpen", json!(true), " comes with the kind Reason only"),
        (
            "activityLevels",
            json!([{"level": 1}]),
            " comes with the kind Activity only",
        ),
    ] {
        let wrong = clocking(&json!({name: value}));
        assert_eq!(errors(wrong).await, json!([format!("{name}{error}")]));
    }
    // §9: one object per request
    let both = errors(json!([clocking(&json!({})), clocking(&json!({}))])).await;
    assert_eq!(both[0], "person.id is required");
}

#[tokio::test]
async fn minutes_have_limits_and_people_exist() {
    let protime = Protime::start().await;
    // §clockings: the current one is -1440..2880
    for minutes in [-1440, 2880] {
        let sent = clocking(&json!({"timeOfDayInMinutes": minutes}));
        let answer = protime.post("/clockings", sent).await;
        assert_eq!(answer.status, 201, "{minutes}");
    }
    let nobody = clocking(&json!({"person": {"id": 99}}));
    let refused = protime.post("/clockings", nobody).await;
    assert_eq!(refused.reason(), "person: there is no such person");
}

#[tokio::test]
async fn assignments_are_replaced_as_a_whole() {
    let protime = Protime::start().await;
    let created = protime
        .post(
            "/assignments",
            assignment(&json!({"comments": " Counter duty "})),
        )
        .await;
    // §assignments: create: Location header
    let path = created.location.strip_prefix(API).unwrap();
    let before = protime.get(path).await.body;
    assert_eq!(before["comments"], "Counter duty");
    assert_eq!(
        (&before["until"], &before["breakDurationInMinutes"]),
        (&Value::Null, &json!(0))
    );
    // §9: must contain **every non-read-only field**; read-only ones are ignored; **no partial update**
    let changed = assignment(
        &json!({"startTimeInMinutes": 540, "isRejected": true, "id": 5, "changeVersion": "F"}),
    );
    // §7.1: updated
    assert_eq!(protime.put(path, changed).await.status, 200);
    let after = protime.get(path).await.body;
    assert_eq!(
        (
            &after["startTimeInMinutes"],
            &after["id"],
            &after["isRejected"]
        ),
        (&json!(540), &before["id"], &json!(false))
    );
    // §9: fields missing from the request are **left empty**, i.e. erased
    assert!(after["comments"].is_null(), "omitted, so erased");
    // §5.3: **string comparison** gives the order
    assert!(after["changeVersion"].as_str() > before["changeVersion"].as_str());
    for minutes in [2881, -1441] {
        let wrong = assignment(&json!({"endTimeInMinutes": minutes}));
        assert_eq!(
            protime.post("/assignments", wrong).await.body["validationErrors"],
            json!(["endTimeInMinutes is not valid"])
        );
    }
    // §1.2: integer minutes, `…DurationInMinutes`
    let text = assignment(&json!({"breakDurationInMinutes": "0:30"}));
    assert_eq!(
        protime.post("/assignments", text).await.body["validationErrors"],
        json!(["breakDurationInMinutes is not valid"])
    );
    // §assignments: Only top-level collection with the full create/read/update/delete set
    // §7.1: DELETE | 200
    // §7.1: deleting an assignment returns **200**
    assert_eq!(protime.delete(path).await.status, 200);
    // §assignments: delete: invalid id gives 400
    // §7.1: `DELETE /assignments/{id}` answers **400** for an invalid id, `PUT` on the same path **404**
    assert_eq!(protime.delete(path).await.status, 400);
    assert_eq!(protime.put(path, assignment(&json!({}))).await.status, 404);
}

#[tokio::test]
async fn a_tenant_with_planning_flex_has_no_assignments() {
    let protime = Protime::with(|settings| settings.planning_flex = true).await;
    // §2.5: `403` also when the tenant does not offer the feature
    // §assignments: Write operations exist only for tenants without Planning Flex or Shift
    assert_eq!(
        protime
            .post("/assignments", assignment(&json!({})))
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn usages_end_or_are_open() {
    let protime = Protime::start().await;
    let path = "/activity-structure-versions/v/levels/1/activity-definitions/00000000-0000-4000-8000-000000000003/usages";
    let usage = |from: &str, until: Option<&str>| {
        let mut usage =
            json!({"activityUsageKind": "Person", "usageReference": {"id": 1}, "from": from});
        if let Some(until) = until {
            usage["until"] = until.into();
        }
        usage
    };
    let post =
        async |from: &str, until: Option<&str>| protime.post(path, usage(from, until)).await.status;
    let target = format!("{API}{path}");
    let delete = async |from: &str, until: Option<&str>| {
        let answer = protime.call("DELETE", &target, Some(usage(from, until)));
        answer.await.status
    };
    assert_eq!(post("2026-02-01", Some("2026-03-01")).await, 200);
    assert_eq!(post("2026-02-15", Some("2026-02-20")).await, 400);
    assert_eq!(post("2026-03-02", None).await, 200);
    assert_eq!(post("2026-09-01", None).await, 400, "the other has no end");
    // §1.2: On activity-definition usages: omit it or send `""`
    assert_eq!(delete("2026-02-01", Some("")).await, 404);
    assert_eq!(delete("2026-03-02", Some("")).await, 204);
    assert_eq!(delete("2026-02-01", Some("2026-03-01")).await, 204);
}

#[tokio::test]
async fn usages_have_no_ids_and_may_not_overlap() {
    let protime = Protime::start().await;
    let definition = "/activity-structure-versions/v/levels/1/activity-definitions/00000000-0000-4000-8000-000000000003";
    let path = format!("{definition}/usages");
    let target = format!("{API}{path}");
    let usage = json!({"activityUsageKind": "Person", "usageReference": {"id": 1}, "from": "2026-01-01", "until": ""});
    // §activity-definitions/usages: POST answers 200, not 201
    // §7.1: creating an activity-definition *usage* (POST) returns **200**, deleting one **204**
    assert_eq!(protime.post(&path, usage.clone()).await.status, 200);
    // §activity-definitions/usages: Periods may not overlap
    // §9: usages may not overlap in period for the same definition, kind and reference
    assert!(
        protime
            .post(&path, usage.clone())
            .await
            .reason()
            .contains("overlaps")
    );
    assert_eq!(protime.get(&path).await.body["usages"], json!([usage]));
    // §activity-definitions/usages: update: success code
    // §13.1: `originalFrom` "must match the current value in the system"
    let update = json!({"activityUsageKind": "Person", "usageReference": {"id": 1}, "originalFrom": "2026-01-01", "updatedFrom": "2026-02-01", "updatedUntil": "2026-03-01"});
    assert_eq!(protime.put(&path, update.clone()).await.status, 200);
    assert!(
        protime
            .put(&path, update)
            .await
            .reason()
            .contains("originalFrom")
    );
    // §activity-definitions/usages: delete: DELETE with a JSON body
    // §activity-definitions/usages: Usages have no id
    // §9: identifies the usage by a **JSON request body**
    let moved = json!({"activityUsageKind": "Person", "usageReference": {"id": 1}, "from": "2026-02-01", "until": "2026-03-01"});
    assert_eq!(
        protime.call("DELETE", &target, Some(usage)).await.status,
        404
    );
    // §7.1: DELETE | 204
    assert_eq!(
        protime.call("DELETE", &target, Some(moved)).await.status,
        204
    );
    // §13.1: an id *or a custom external reference*
    let by_reference = json!({"activityUsageKind": "Circle", "usageReference": {"id": "night"}, "from": "2026-01-01"});
    assert_eq!(protime.post(&path, by_reference).await.status, 200);
    // §activity-definitions/restrictions: update: body is a bare JSON array
    // §9: G3 shows a bare JSON **array**
    let restrictions = format!("{definition}/restrictions");
    let body = json!([{"level": 1, "activityDefinitions": [{"id": "00000000-0000-4000-8000-000000000004"}]}]);
    assert_eq!(protime.put(&restrictions, body.clone()).await.status, 200);
    assert_eq!(protime.get(&restrictions).await.body["restrictions"], body);
    let unknown = path.replace("000000000003", "00000000ffff");
    assert_eq!(protime.get(&unknown).await.status, 404);
}
