//! The simulator does what Protime's documentation states, seen over HTTP.

use serde_json::{Value, json};
use simulator::{Action, Fault, Options, Simulator};

const API: &str = "/connector/protimeapi/api/v1";
const MARCH: &str = "filter=date%20ge%20%272026-03-01%27";

struct Protime {
    simulator: Simulator,
    http: reqwest::Client,
    token: String,
}

struct Answer {
    status: u16,
    location: String,
    body: Value,
}

impl Protime {
    async fn start() -> Self {
        let now = Some("2026-03-31T12:00:00Z".parse().unwrap());
        let simulator = Simulator::start(Options {
            people: 5,
            days: 40,
            now,
            ..Options::default()
        })
        .await
        .unwrap();
        let http = reqwest::Client::new();
        let secret: Value = serde_json::from_str(&simulator.secret_json()).unwrap();
        let scopes: Vec<&str> = secret["scopes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|scope| scope.as_str().unwrap())
            .collect();
        let mut protime = Self {
            simulator,
            http,
            token: String::new(),
        };
        protime.login(&scopes.join(" ")).await;
        protime
    }

    async fn login(&mut self, scopes: &str) -> Value {
        let secret: Value = serde_json::from_str(&self.simulator.secret_json()).unwrap();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
            secret["client_id"].as_str().unwrap(),
            secret["client_secret"].as_str().unwrap(),
            scopes.replace(' ', "+")
        );
        let answer = self.token(form).await;
        answer["access_token"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.token);
        answer
    }

    async fn token(&self, form: String) -> Value {
        let url = format!("{}/tenants/acme/connect/token", self.simulator.base_uri());
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    async fn call(&self, method: &str, target: &str, body: Option<Value>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{target}", self.simulator.base_uri()));
        request = request
            .header("authorization", format!("Bearer {}", self.token))
            .header("user-agent", "Test/1 (Test)");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let location = answer
            .headers()
            .get("location")
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        let status = answer.status().as_u16();
        let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
        Answer {
            status,
            location,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", &format!("{API}{path}"), None).await
    }
}

fn count(answer: &Answer) -> usize {
    answer.body["value"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn tokens_are_for_the_right_client_and_known_scopes() {
    let mut protime = Protime::start().await;
    assert_eq!(
        protime.token("grant_type=password".to_owned()).await["error"],
        "unsupported_grant_type"
    );
    assert_eq!(
        protime
            .token("grant_type=client_credentials&client_id=x".to_owned())
            .await["error"],
        "invalid_client"
    );
    assert_eq!(protime.login("made-up").await["error"], "invalid_scope");
    let answer = protime.login("connector-protimeapi-people.read").await;
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"]),
        (&json!("Bearer"), &json!(1800))
    );
    assert_eq!(protime.get("/people").await.status, 200);
    assert_eq!(
        protime.get("/departments").await.status,
        403,
        "a missing scope"
    );
    protime
        .simulator
        .set_now("2026-03-31T12:31:00Z".parse().unwrap());
    assert_eq!(protime.get("/people").await.status, 401, "expired");
}

#[tokio::test]
async fn a_user_agent_is_mandatory_and_long_targets_are_refused() {
    let protime = Protime::start().await;
    let url = format!("{}{API}/departments", protime.simulator.base_uri());
    let bare = protime
        .http
        .get(&url)
        .header("authorization", format!("Bearer {}", protime.token));
    assert_eq!(bare.send().await.unwrap().status().as_u16(), 400);
    assert_eq!(
        protime
            .get(&format!("/departments?x={}", "y".repeat(4_100)))
            .await
            .status,
        414
    );
    assert_eq!(protime.get("/nothing-here").await.status, 404);
    assert_eq!(
        protime
            .call("PUT", &format!("{API}/departments"), None)
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn filters_are_checked_and_applied() {
    let protime = Protime::start().await;
    let refused = protime.get("/clockings").await;
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (400, &json!("BadRequest"))
    );
    assert!(
        refused.body["error"]["reasons"][0]
            .as_str()
            .unwrap()
            .contains("`date` is required")
    );
    assert_eq!(
        protime
            .get("/clockings?filter=date%20gt%20%272026%27")
            .await
            .status,
        400
    );

    let all = protime.get(&format!("/clockings?{MARCH}")).await;
    assert_eq!(count(&all), 5 * 31 * 2);
    let some = protime
        .get(&format!(
            "/clockings?{MARCH}%20and%20date%20le%20%272026-03-02%27%20and%20person%20in%20(2,3)"
        ))
        .await;
    assert_eq!(count(&some), 2 * 2 * 2);
    let circle = protime
        .get(&format!(
            "/clockings?{MARCH}%20and%20person%20in%20circle(4)"
        ))
        .await;
    assert_eq!(count(&circle), 31 * 2);
    let none = protime.get(&format!("/clockings?{MARCH}%20and%20(kind%20eq%20%27Reason%27%20or%20kind%20eq%20%27Activity%27)")).await;
    assert_eq!(count(&none), 0);
}

#[tokio::test]
async fn pages_are_linked_unencoded_and_tokens_fit_their_query_only() {
    let protime = Protime::start().await;
    protime.simulator.configure(|settings| {
        settings.page_size = 100;
        settings.empty_pages_after = vec![0];
    });
    let first = protime.get(&format!("/clockings?{MARCH}")).await;
    let link = first.body["nextLink"].as_str().unwrap();
    assert!(
        link.starts_with(&format!(
            "{API}/clockings?filter=date ge '2026-03-01'&continuationToken="
        )),
        "{link}"
    );
    assert!(link.contains('+') && link.ends_with('='), "{link}");
    let encoded = link.replace('+', "%2B").replace(' ', "%20");
    let second = protime.call("GET", &encoded, None).await;
    assert_eq!(
        (count(&second), second.body["nextLink"].is_string()),
        (0, true),
        "an empty page is not the end"
    );
    let other = encoded.replace("2026-03-01", "2026-03-02");
    assert_eq!(protime.call("GET", &other, None).await.status, 400);
}

#[tokio::test]
async fn single_records_are_found_by_id_or_reference() {
    let protime = Protime::start().await;
    assert_eq!(protime.get("/people/3").await.body["id"], 3);
    assert_eq!(protime.get("/people/99").await.status, 404);
    assert_eq!(protime.get("/departments/abc").await.status, 400);
    let by_reference = protime
        .get("/people/0000004?externalReferences=(people,@badge-number)")
        .await;
    assert_eq!(by_reference.body["id"], 4);
    assert_eq!(
        by_reference.body["externalReferences"],
        json!({"@badge-number": "0000004"})
    );
    let listed = protime
        .get(&format!(
            "/clockings?{MARCH}&externalReferences=(people,@employee-number)"
        ))
        .await;
    assert_eq!(
        listed.body["value"][0]["person"],
        json!({"id": 1, "externalReferences": {"@employee-number": "E00001"}})
    );
    assert_eq!(
        protime.get("/people/2/department-history").await.status,
        200
    );
    assert_eq!(protime.get("/department-histories").await.status, 200);
    assert_eq!(protime.get("/colour-histories").await.status, 404);
}

#[tokio::test]
async fn writes_are_validated_and_seen_afterwards() {
    let protime = Protime::start().await;
    let post =
        |body: Value| protime.call("POST", "/connector/protimeapi/api/v1/clockings", Some(body));
    let clocking = json!({"person": {"externalReferences": {"@badge-number": "0000002"}}, "date": "2026-03-31", "timeOfDayInMinutes": 1500, "kind": "InOut"});
    let created = post(clocking.clone()).await;
    assert_eq!(created.status, 201);
    let read = protime.call("GET", &created.location, None).await;
    assert_eq!(
        (&read.body["person"]["id"], &read.body["status"]),
        (&json!(2), &json!("Active"))
    );

    let invalid = post(json!({"person": {"id": 1}, "kind": "Dance"})).await;
    assert_eq!(
        (invalid.status, invalid.body["error"].is_null()),
        (400, true),
        "model validation has no error wrapper"
    );
    assert_eq!(
        invalid.body["validationErrors"],
        json!([
            "date is required",
            "timeOfDayInMinutes is required",
            "kind is not valid"
        ])
    );
    let mut unknown = clocking;
    unknown["person"] = json!({"id": 99});
    assert_eq!(
        post(unknown).await.body["error"]["reasons"],
        json!(["person: there is no such person"])
    );

    let assignment = json!({"person": {"id": 1}, "from": "2026-03-31", "activityLevels": [{"level": 1, "activityDefinition": {"id": "x"}}]});
    assert_eq!(
        protime
            .call(
                "PUT",
                &format!("{API}/assignments/1"),
                Some(assignment.clone())
            )
            .await
            .status,
        200
    );
    assert_eq!(
        protime
            .call("PUT", &format!("{API}/assignments/999"), Some(assignment))
            .await
            .status,
        404
    );
    assert_eq!(
        protime
            .call("DELETE", &format!("{API}/assignments/1"), None)
            .await
            .status,
        200
    );
    assert_eq!(
        protime
            .call("DELETE", &format!("{API}/assignments/1"), None)
            .await
            .status,
        400,
        "documented so"
    );
}

#[tokio::test]
async fn usages_have_no_ids_and_may_not_overlap() {
    let protime = Protime::start().await;
    let path =
        format!("{API}/activity-structure-versions/v/levels/1/activity-definitions/d/usages");
    let usage =
        json!({"activityUsageKind": "Person", "usageReference": {"id": 1}, "from": "2026-01-01"});
    assert_eq!(
        protime
            .call("POST", &path, Some(usage.clone()))
            .await
            .status,
        200,
        "not 201"
    );
    assert_eq!(
        protime
            .call("POST", &path, Some(usage.clone()))
            .await
            .status,
        400
    );
    assert_eq!(
        protime.call("GET", &path, None).await.body["usages"],
        json!([usage])
    );
    assert_eq!(protime.call("DELETE", &path, Some(usage)).await.status, 204);
    let restrictions = path.replace("/usages", "/restrictions");
    let body = json!([{"level": 1, "activityDefinitions": [{"id": "x"}]}]);
    assert_eq!(
        protime
            .call("PUT", &restrictions, Some(body.clone()))
            .await
            .status,
        200
    );
    assert_eq!(
        protime.call("GET", &restrictions, None).await.body["restrictions"],
        body
    );
}

#[tokio::test]
async fn a_delta_gives_all_then_changes_and_ends_after_72_hours() {
    let protime = Protime::start().await;
    assert_eq!(
        protime
            .get("/clockings?filter=date%20ge%20%272024-01-01%27&delta")
            .await
            .status,
        400,
        "too early a start"
    );
    let start = protime.get(&format!("/clockings?{MARCH}&delta")).await;
    assert_eq!(
        (count(&start), start.body["nextLink"].is_null()),
        (310, true)
    );
    let mut link = start.body["deltaLink"]
        .as_str()
        .unwrap()
        .replace('+', "%2B");
    assert!(link.starts_with(&format!("{API}/delta/clockings?deltaToken=")));

    let clocking = json!({"person": {"id": 1}, "date": "2026-03-31", "timeOfDayInMinutes": 1, "kind": "InOut"});
    protime
        .call("POST", &format!("{API}/clockings"), Some(clocking))
        .await;
    let change = |body: Value| {
        protime
            .http
            .post(format!(
                "{}/_simulator/changes",
                protime.simulator.base_uri()
            ))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
    };
    let recent = start.body["value"][309]["id"].to_string();
    let other = start.body["value"][308]["id"].to_string();
    change(json!({"entity": "clockings", "id": recent, "set": {"status": "Deleted"}}))
        .await
        .unwrap();
    change(json!({"entity": "clockings", "id": other, "delete": true}))
        .await
        .unwrap();
    let poll = protime.call("GET", &link, None).await;
    let kinds: Vec<&str> = poll.body["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["changeType"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["InsertOrUpdate", "InsertOrUpdate", "Delete"]);
    assert_eq!(
        poll.body["value"][1]["data"]["status"], "Deleted",
        "clockings are deleted softly"
    );
    link = poll.body["deltaLink"].as_str().unwrap().replace('+', "%2B");
    assert_eq!(count(&protime.call("GET", &link, None).await), 0);

    protime
        .simulator
        .configure(|settings| settings.expires_in = 10_000_000);
    let mut protime = protime;
    let secret: Value = serde_json::from_str(&protime.simulator.secret_json()).unwrap();
    let scopes: Vec<&str> = secret["scopes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scope| scope.as_str().unwrap())
        .collect();
    protime.login(&scopes.join(" ")).await;
    protime
        .simulator
        .set_now("2026-04-03T11:59:00Z".parse().unwrap());
    assert_eq!(protime.call("GET", &link, None).await.status, 200);
    protime
        .simulator
        .set_now("2026-04-06T12:00:00Z".parse().unwrap());
    assert_eq!(protime.call("GET", &link, None).await.status, 410);
}

#[tokio::test]
async fn a_second_delta_ends_the_first() {
    let protime = Protime::start().await;
    let first = protime.get("/departments?delta").await;
    assert_eq!(first.status, 400, "departments have no delta");
    let first = protime.get("/shift-definitions?delta").await;
    protime.get("/shift-definitions?delta").await;
    let link = first.body["deltaLink"]
        .as_str()
        .unwrap()
        .replace('+', "%2B");
    assert_eq!(protime.call("GET", &link, None).await.status, 410);
}

#[tokio::test]
async fn faults_happen_as_often_as_asked_and_requests_are_remembered() {
    let protime = Protime::start().await;
    let mut fault = Fault::new(
        "/departments",
        1,
        Action::Answer {
            status: 409,
            headers: Vec::new(),
            body: String::new(),
        },
    );
    fault.skip = 1;
    protime.simulator.add_fault(fault);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(protime.get("/departments").await.status);
    }
    assert_eq!(statuses, [200, 409, 200]);
    let logged: Vec<u16> = protime
        .simulator
        .requests()
        .iter()
        .filter(|request| request.authorized)
        .map(|request| request.status)
        .collect();
    assert_eq!(logged, statuses);
}
