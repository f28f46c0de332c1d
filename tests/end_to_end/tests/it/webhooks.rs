//! `protimectl webhooks`, with the deployed doorbell. Keys are kept and never printed. After any failure, the same
//! command continues.
//!
//! On local AWS the doorbell is a stack of its own, without schedules. So the connections come from files.

use aws_sdk_secretsmanager::Client as Secrets;
use end_to_end::{Tenant, aws, variable};
use serde_json::{Value, json};
use simulator::{Action, Fault};

use crate::json_documents::documented;
use crate::protimectl::{Folder, Protimectl, connection};

/// The suffix of the doorbell's stack. [`RUNG`] is the only connection that it knows.
const SUFFIX: &str = "-doorbell";
const RUNG: &str = "rung";

/// A tenant, `protimectl` on the doorbell's stack, and the secrets of webhooks.
struct WebhookFixture {
    tenant: Tenant,
    protimectl: Protimectl,
    folder: Folder,
    secrets: Secrets,
}

impl WebhookFixture {
    async fn new() -> Self {
        let tenant = Tenant::new().await;
        let folder = Folder::new(&tenant);
        let protimectl = Protimectl::on(&format!("{}{SUFFIX}", variable("STACK_NAME")));
        let secrets = Secrets::new(&aws().load().await);
        Self {
            tenant,
            protimectl,
            folder,
            secrets,
        }
    }

    fn event(&self, incoming: &str, entity: &str) -> String {
        let fields = json!({"incoming": incoming, "entity": entity, "sync": "delta"});
        let event = connection(&self.tenant, &fields);
        self.folder.write("connection.json", &event.to_string())
    }

    fn secret(incoming: &str) -> String {
        format!("{}{SUFFIX}-webhooks/{incoming}", variable("STACK_NAME"))
    }

    /// The secret of a connection's webhook, if there is one.
    async fn kept(&self, incoming: &str) -> Option<Value> {
        let get = self.secrets.get_secret_value();
        let value = get.secret_id(Self::secret(incoming)).send().await.ok()?;
        Some(serde_json::from_str(&value.secret_string?).unwrap())
    }

    /// Stores the token that the doorbell knows, as `webhooks create` would.
    async fn keep_token(&self) {
        let kept = json!({
            "incoming": RUNG, "client": self.tenant.client, "collection": "clockings", "token": variable("DOORBELL_TOKEN"),
        });
        let create = self.secrets.create_secret().name(Self::secret(RUNG));
        create.secret_string(kept.to_string()).send().await.unwrap();
    }

    /// Protime's webhooks that ring the connection [`RUNG`]: the id, and whether it is enabled.
    async fn at_protime(&self) -> Vec<(String, bool)> {
        let url = format!(
            "{}{}",
            variable("DOORBELL_DOORBELL_URL"),
            variable("DOORBELL_TOKEN")
        );
        let token = format!(
            "{}/tenants/acme/connect/token",
            self.tenant.protime.base_uri()
        );
        let client: Value = serde_json::from_str(&self.tenant.protime.secret_json()).unwrap();
        let http = reqwest::Client::new();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=connector-protimeapi-webhooks.read",
            client["client_id"].as_str().unwrap(),
            client["client_secret"].as_str().unwrap(),
        );
        let form = http
            .post(token)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let token: Value =
            serde_json::from_str(&form.send().await.unwrap().text().await.unwrap()).unwrap();
        let list = format!(
            "{}/connector/protimeapi/api/v1/webhooks",
            self.tenant.protime.base_uri()
        );
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let get = http
            .get(list)
            .header("authorization", bearer)
            .header("user-agent", "test");
        let list: Value =
            serde_json::from_str(&get.send().await.unwrap().text().await.unwrap()).unwrap();
        let webhooks = list["value"].as_array().unwrap().iter();
        let own = webhooks.filter(|webhook| webhook["destinationUrl"] == url.as_str());
        own.map(|webhook| {
            let id = webhook["id"].as_str().unwrap().to_owned();
            (id, webhook["status"] != "Disabled")
        })
        .collect()
    }

    /// The ids of the enabled webhooks at Protime that ring the connection.
    async fn enabled(&self) -> Vec<String> {
        let all = self.at_protime().await.into_iter();
        all.filter(|(_, is)| *is).map(|(id, _)| id).collect()
    }

    /// Lets Protime answer the next such request with an error.
    fn refuse(&self, method: &str, status: u16, body: &str) {
        let answer = Action::Answer {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        };
        self.tenant.protime.add_fault(Fault {
            method: Some(method.to_owned()),
            ..Fault::new("/webhooks", 1, answer)
        });
    }

    fn succeeds(&self, arguments: &[&str]) -> Value {
        let printed = self.protimectl.run(&[arguments, &["--json"]].concat());
        assert_eq!(
            printed.code, 0,
            "{arguments:?}: {}{}",
            printed.stdout, printed.stderr
        );
        for secret in [
            variable("DOORBELL_TOKEN"),
            "simulated-private-key".to_owned(),
        ] {
            assert!(!printed.stdout.contains(&secret), "{}", printed.stdout);
            assert!(!printed.stderr.contains(&secret), "{}", printed.stderr);
        }
        serde_json::from_str(&printed.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_a_token_is_made_whose_hash_the_template_needs() {
    let rung = WebhookFixture::new().await;
    let name = rung.tenant.incoming();
    let file = rung.event(&name, "clockings");
    let first = rung.succeeds(&["webhooks", "create", &file, "--yes"]);
    assert_eq!(
        (&first["done"], &first["incoming"]),
        (&json!(false), &json!(name))
    );
    let kept = rung.kept(&name).await.unwrap();
    let token = kept["token"].as_str().unwrap();
    assert_eq!(token.len(), 32);
    assert!(token.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(first["hash"], doorbell::token_hash(token));
    assert!(!first.to_string().contains(token));
    // Until the hash is deployed, the command answers the same and sends Protime no request.
    assert_eq!(
        rung.succeeds(&["webhooks", "create", &file, "--yes"]),
        first
    );
    assert!(rung.tenant.targets().is_empty());
    let printed = rung.protimectl.run(&[
        "webhooks",
        "create",
        &rung.event(&name, "departments"),
        "--yes",
    ]);
    assert_eq!(printed.code, 11);
    assert!(
        printed.stderr.contains("documents no webhooks"),
        "{}",
        printed.stderr
    );
    rung.succeeds(&["webhooks", "delete", &name, "--yes"]);
    assert!(rung.kept(&name).await.is_none());
}

/// One test for all commands, since the doorbell knows only one connection.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_created_listed_renewed_and_deleted() {
    let rung = WebhookFixture::new().await;
    rung.tenant
        .protime
        .configure(|settings| settings.webhook_key = "notDocumented".to_owned());
    rung.keep_token().await;
    let file = rung.event(RUNG, "clockings");

    // Protime creates the webhook, but its answer is lost, and the key with it. So the webhook is replaced.
    let fault = Fault {
        method: Some("POST".to_owned()),
        ..Fault::new("/webhooks", 1, Action::DropAfter)
    };
    rung.tenant.protime.add_fault(fault);
    let printed = rung.protimectl.run(&["webhooks", "create", &file, "--yes"]);
    assert_ne!(printed.code, 0);
    let made = rung.at_protime().await;
    let [(without_key, true)] = &made[..] else {
        panic!("it was made");
    };
    let created = rung.succeeds(&["webhooks", "create", &file, "--yes"]);
    assert_eq!(created["isNew"], true);
    let id = created["id"].as_str().unwrap().to_owned();
    let expected = [(without_key.clone(), false), (id.clone(), true)];
    assert_eq!(rung.at_protime().await, expected);
    let kept = rung.kept(RUNG).await.unwrap();
    assert_eq!(
        kept["answer"]["notDocumented"],
        format!("simulated-private-key-of-{id}")
    );

    // The same command again changes nothing.
    let again = rung.succeeds(&["webhooks", "create", &file, "--yes"]);
    assert_eq!((&again["isNew"], &again["id"]), (&json!(false), &json!(id)));
    let renewed = rung.succeeds(&["webhooks", "renew", "--yes"]);
    assert_eq!(renewed["webhooks"][0]["isNew"], false);
    assert_eq!(rung.at_protime().await, expected);

    let list = rung.succeeds(&["webhooks", "list", &rung.tenant.client]);
    let listed = list["webhooks"].as_array().unwrap();
    let own = listed
        .iter()
        .find(|webhook| webhook["id"] == id.as_str())
        .unwrap();
    assert_eq!(
        (&own["incoming"], &own["status"]),
        (&json!(RUNG), &json!("Enabled"))
    );
    assert_eq!(own["daysLeft"], 89);

    // The webhook ends within 91 days, so it is renewed.
    let renewed = rung.succeeds(&["webhooks", "renew", RUNG, "--within", "91", "--yes"]);
    let next = renewed["webhooks"][0]["id"].as_str().unwrap().to_owned();
    assert_ne!(next, id);
    assert_eq!(rung.enabled().await, [next.as_str()]);
    assert_eq!(rung.kept(RUNG).await.unwrap()["webhook"], next.as_str());

    rung.succeeds(&["webhooks", "delete", RUNG, "--yes"]);
    assert!(
        rung.at_protime()
            .await
            .iter()
            .all(|(_, is_enabled)| !is_enabled)
    );
    assert!(rung.kept(RUNG).await.is_none());
    let printed = rung.protimectl.run(&["webhooks", "delete", RUNG, "--yes"]);
    assert_eq!(printed.code, 11, "{}", printed.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_left_at_protime_the_next_one_deletes() {
    let rung = WebhookFixture::new().await;
    rung.keep_token().await;
    let file = rung.event(RUNG, "clockings");
    let first = rung.succeeds(&["webhooks", "create", &file, "--yes"])["id"].clone();
    // The new webhook is created, and the old one cannot be deleted.
    rung.refuse("DELETE", 503, "");
    let renew = ["webhooks", "renew", RUNG, "--within", "91", "--yes"];
    assert_ne!(rung.protimectl.run(&renew).code, 0);
    assert_eq!(rung.enabled().await.len(), 2);
    let stays = rung.succeeds(&["webhooks", "renew", "--yes"]);
    assert_eq!(stays["webhooks"][0]["isNew"], false);
    let enabled = rung.enabled().await;
    assert_eq!(enabled.len(), 1);
    assert_ne!(json!(enabled[0]), first);

    // Protime refuses the URL and quotes it: the webhook that rings stays, and the token is not printed.
    let token = variable("DOORBELL_TOKEN");
    let refusal = json!({"error": {"code": "BadRequest", "message": format!("{token} is no URL")}});
    rung.refuse("POST", 400, &refusal.to_string());
    let printed = rung.protimectl.run(&renew);
    assert_ne!(printed.code, 0);
    assert!(printed.stdout.contains("is no URL"), "{}", printed.stdout);
    assert!(!(printed.stdout + &printed.stderr).contains(&token));
    assert_eq!(rung.enabled().await, enabled);
    rung.succeeds(&["webhooks", "delete", RUNG, "--yes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_are_these() {
    let rung = WebhookFixture::new().await;
    rung.tenant.protime.set_records("webhooks", "[]").unwrap();
    let name = rung.tenant.incoming();
    let file = rung.event(&name, "clockings");
    let document = |name: &str, arguments: &[&str]| documented(name, &rung.protimectl, arguments);
    document("webhooks_token", &["webhooks", "create", &file, "--yes"]);
    rung.succeeds(&["webhooks", "delete", &name, "--yes"]);
    document("webhooks_renew_failed", &["webhooks", "renew", "--yes"]);

    rung.keep_token().await;
    let file = rung.event(RUNG, "clockings");
    document("webhooks_create", &["webhooks", "create", &file, "--yes"]);
    document("webhooks_list", &["webhooks", "list", &rung.tenant.client]);
    document("webhooks_renew", &["webhooks", "renew", "--yes"]);
    document("webhooks_delete", &["webhooks", "delete", RUNG, "--yes"]);
}
