//! A simulator, and what it answers to plain HTTP.

use serde_json::Value;
use simulator::{Options, Settings, Simulator};

/// What every path begins with.
pub(crate) const API: &str = "/connector/protimeapi/api/v1";
/// All days of the month that ends today.
pub(crate) const MARCH: &str = "filter=date%20ge%20%272026-03-01%27";

pub(crate) struct Protime {
    pub(crate) simulator: Simulator,
    pub(crate) http: reqwest::Client,
    token: String,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: String,
    pub(crate) body: Value,
}

impl Protime {
    /// On 31 March 2026 at noon, with five people and forty days.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// One whose documentation is read otherwise where it is open.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
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
        simulator.configure(change);
        let mut protime = Self {
            simulator,
            http,
            token: String::new(),
        };
        protime.login_with_all_scopes().await;
        protime
    }

    pub(crate) async fn login_with_all_scopes(&mut self) {
        let secret: Value = serde_json::from_str(&self.simulator.secret_json()).unwrap();
        let scopes = secret["scopes"].as_array().unwrap().iter();
        let scopes: Vec<&str> = scopes.map(|scope| scope.as_str().unwrap()).collect();
        self.login(&scopes.join(" ")).await;
    }

    pub(crate) async fn login(&mut self, scopes: &str) -> Value {
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

    pub(crate) async fn token(&self, form: String) -> Value {
        let url = format!("{}/tenants/acme/connect/token", self.simulator.base_uri());
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
    }

    pub(crate) async fn call(&self, method: &str, target: &str, body: Option<Value>) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, format!("{}{target}", self.simulator.base_uri()));
        request = request
            .header("authorization", self.authorization())
            .header("user-agent", "Test/1 (Test)");
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
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

    pub(crate) fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", &format!("{API}{path}"), None).await
    }

    /// Follows a link as it was given: nothing but what a URL cannot hold is encoded.
    pub(crate) async fn follow(&self, link: &Value) -> Answer {
        let link = link.as_str().unwrap().replace('+', "%2B");
        self.call("GET", &link.replace(' ', "%20"), None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", &format!("{API}{path}"), Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", &format!("{API}{path}"), Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", &format!("{API}{path}"), None).await
    }

    /// A change that a user of myProtime makes.
    pub(crate) async fn change(&self, change: Value) {
        let url = format!("{}/_simulator/changes", self.simulator.base_uri());
        let request = self
            .http
            .post(url)
            .header("content-type", "application/json");
        let answer = request.body(change.to_string()).send().await.unwrap();
        assert!(answer.status().is_success());
    }
}

impl Answer {
    pub(crate) fn records(&self) -> &[Value] {
        self.body["value"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn count(&self) -> usize {
        self.records().len()
    }

    /// The first reason of a refusal.
    pub(crate) fn reason(&self) -> &str {
        assert_eq!(self.status, 400, "{}", self.body);
        self.body["error"]["reasons"][0]
            .as_str()
            .unwrap_or_default()
    }
}
