//! Checks that lines in the embedded metric format are read as the published schema says.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector::clock::Clock;
use connector::metrics::{Line, Metric, Metrics};
use serde_json::Value;
use strum::VariantArray;
use template::CloudWatch;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

fn metrics() -> (Metrics, Written) {
    let written = Written::default();
    let clock = Clock::default();
    clock.set("2026-11-23T10:00:00Z".parse().unwrap());
    (Metrics::new("stack", clock, written.clone()), written)
}

#[test]
fn every_metric_is_valid_by_the_published_schema() {
    let (metrics, written) = metrics();
    let line = Metric::VARIANTS
        .iter()
        .fold(Line::new(), |line, metric| line.value(*metric, 1));
    let line = line
        .property("incoming", "a \"b\"\n")
        .property("reason", "invalid");
    metrics.write(line);
    let lines = written.lines();
    let [line] = lines.as_slice() else { panic!() };
    let mut cloudwatch = CloudWatch::default();
    cloudwatch.log(line);
    let records = cloudwatch.values("Records");
    assert_eq!(
        records.len(),
        1,
        "without a dimension, and by connection: {line}"
    );
    assert!(records[0].0.to_string().starts_with("2026-11-23T10:00:00"));
    assert!(cloudwatch.values("Parked").is_empty(), "by reason only");
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    let of = |set: &[&str]| {
        let directive = directives
            .iter()
            .find(|directive| directive["Dimensions"] == serde_json::json!([set]));
        directive.unwrap()["Metrics"].clone()
    };
    let count = |name: &str| serde_json::json!([{"Name": name, "Unit": "Count"}]);
    assert_eq!(of(&["incoming"]), count("Records"));
    assert_eq!(of(&["reason"]), count("Parked"));
}

#[test]
fn requests_are_told_by_the_hundred_and_none_is_forgotten() {
    let (metrics, written) = metrics();
    let observer = metrics.observer();
    for number in 0..250_u64 {
        observer(protime::Exchange {
            duration: Duration::from_millis(number),
            status: match number % 5 {
                0 => Some(429),
                1 => Some(503),
                2 => None,
                _ => Some(200),
            },
        });
    }
    metrics.write_with_requests(Line::new().value(Metric::Pages, 1));
    metrics.write_with_requests(Line::new().value(Metric::Pages, 1));
    let mut cloudwatch = CloudWatch::default();
    for line in written.lines() {
        cloudwatch.log(&line);
    }
    let sum = |name: &str| {
        let values = cloudwatch.values(name);
        values.iter().map(|(_, value)| value).sum::<f64>()
    };
    assert_eq!(cloudwatch.values("ProtimeLatency").len(), 250);
    assert!((sum("ProtimeLatency") - 31_125.0).abs() < 0.1);
    assert!((sum("ProtimeThrottled") - 50.0).abs() < 0.1);
    assert!((sum("ProtimeErrors") - 100.0).abs() < 0.1);
    assert_eq!(written.lines().len(), 4);
}
