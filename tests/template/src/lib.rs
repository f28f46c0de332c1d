//! `template.yaml` as the operator sees it: its alarms, their metrics and its dashboard.
//!
//! [`CloudWatch`] stands for the service. It takes log lines in the embedded metric format and checks each by the
//! published schema. It tells which alarms were raised.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "it is a test harness: what fails here fails a test"
)]
#![expect(clippy::missing_panics_doc, reason = "as above")]

mod cloudwatch;
mod yaml;

use std::path::{Path, PathBuf};

use serde_json::Value;

pub use cloudwatch::{Alarm, CloudWatch, Missing, Series};

/// The root folder of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A template as JSON: `!Ref x` is `{"Ref": "x"}`, `!Sub x` is `{"Fn::Sub": "x"}`.
#[derive(Debug, Clone)]
pub struct Template(pub Value);

impl Template {
    /// Loads the product's own template, `template.yaml`.
    pub fn load() -> Self {
        Self::load_from("template.yaml")
    }

    /// Loads a template from a file, by its path in the project.
    pub fn load_from(path: &str) -> Self {
        let text = std::fs::read_to_string(root().join(path)).expect("the template");
        Self(yaml::to_json(&text))
    }

    /// Loads a template after the SAM transform, as `infra/translate.py` writes it.
    pub fn translated(name: &str) -> Self {
        let path = root().join(format!(".tools/translated/{name}.json"));
        let text = std::fs::read_to_string(path);
        let text = text.expect("`make check` translates the templates before this test");
        Self(serde_json::from_str(&text).expect("JSON"))
    }

    /// The resources of that type, by name, with their properties.
    pub fn resources<'a>(
        &'a self,
        kind: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> + 'a {
        let resources = self.0["Resources"].as_object().expect("resources");
        resources
            .iter()
            .filter(move |(_, resource)| resource["Type"] == kind)
            .map(|(name, resource)| (name.as_str(), &resource["Properties"]))
    }

    /// The `CloudWatch` alarms of the template.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.resources("AWS::CloudWatch::Alarm")
            .map(|(name, properties)| Alarm::of(name, properties))
            .collect()
    }

    /// The dashboard's body, with `${...}` unresolved.
    pub fn dashboard(&self) -> Value {
        let mut dashboards = self.resources("AWS::CloudWatch::Dashboard");
        let (_, properties) = dashboards.next().expect("a dashboard");
        let body = properties["DashboardBody"]["Fn::Sub"].as_str();
        serde_json::from_str(body.expect("its body")).expect("JSON")
    }
}
