//! Checks that code, template, dashboard and infra/OPERATIONS.md agree on what the operator reads.

use std::collections::BTreeSet;

use connector::metrics::Metric;
use serde_json::Value;
use strum::VariantArray;
use template::{Template, root};

type Names = BTreeSet<String>;

fn metrics() -> Names {
    let names = Metric::VARIANTS.iter().map(|metric| metric.name());
    names.map(str::to_owned).collect()
}

/// The stack's metrics in the dashboard, each with the names of its dimensions.
fn shown() -> BTreeSet<(String, Vec<String>)> {
    let dashboard = Template::load().dashboard();
    let mut shown = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().unwrap() {
        for metric in widget["properties"]["metrics"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let row: Vec<&Value> = metric.as_array().unwrap().iter().collect();
            if let Some(expression) = row[0]["expression"].as_str() {
                assert!(
                    expression.starts_with(
                        "SEARCH('{${AWS::StackName},incoming} MetricName=\"Records\"'"
                    ),
                    "{expression}"
                );
                shown.insert(("Records".to_owned(), vec!["incoming".to_owned()]));
            } else if row[0] == "${AWS::StackName}" {
                let texts: Vec<&str> = row[1..].iter().filter_map(|text| text.as_str()).collect();
                let dimensions = texts[1..].iter().step_by(2);
                shown.insert((
                    texts[0].to_owned(),
                    dimensions.map(|name| (*name).to_owned()).collect(),
                ));
            }
        }
    }
    shown
}

#[test]
fn the_dashboard_shows_every_metric_under_its_dimensions_and_no_other() {
    let mut expected = BTreeSet::new();
    for metric in Metric::VARIANTS {
        for set in metric.dimensions() {
            let set = set.iter().map(|name| (*name).to_owned()).collect();
            expected.insert((metric.name().to_owned(), set));
        }
    }
    assert_eq!(shown(), expected);
}

#[test]
fn the_dashboard_shows_every_alarm() {
    let dashboard = Template::load().dashboard();
    let widgets = dashboard["widgets"].as_array().unwrap().iter();
    let shown: Names = widgets
        .filter_map(|widget| widget["properties"]["alarms"].as_array())
        .flatten()
        .map(|alarm| alarm.as_str().unwrap().to_owned())
        .collect();
    let alarms = Template::load().alarms().into_iter();
    let expected: Names = alarms
        .map(|alarm| format!("${{{}.Arn}}", alarm.name))
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn alarms_look_at_metrics_that_there_are() {
    for alarm in Template::load().alarms() {
        let metric = alarm.series.metric;
        match alarm.series.namespace.as_str() {
            "stack" => {
                assert!(metrics().contains(&metric), "{}: {metric}", alarm.name);
                assert!(alarm.series.dimensions.is_empty(), "{}", alarm.name);
            }
            "AWS/SQS" => assert!(
                [
                    "ApproximateAgeOfOldestMessage",
                    "ApproximateNumberOfMessagesVisible"
                ]
                .contains(&metric.as_str())
            ),
            "AWS/Lambda" => assert_eq!(metric, "Errors"),
            other => panic!("{other}"),
        }
        assert!(
            alarm.description.contains(": aws "),
            "{}: its description names no command",
            alarm.name
        );
    }
}

#[test]
fn every_queue_that_nothing_reads_has_an_alarm() {
    let template = Template::load();
    let with_alarm: Names = template
        .alarms()
        .into_iter()
        .filter(|alarm| alarm.series.metric == "ApproximateNumberOfMessagesVisible")
        .map(|alarm| alarm.series.dimensions[0].1.clone())
        .collect();
    let read = ["ContinuationQueue", "PagesQueue", "PublishQueue"].map(str::to_owned);
    let queues: Names = template
        .resources("AWS::SQS::Queue")
        .map(|(name, _)| name.to_owned())
        .filter(|name| !read.contains(name))
        .collect();
    assert_eq!(with_alarm, queues);
}

#[test]
fn the_watch_runs_whatever_the_schedules_do_and_lambda_drops_no_line() {
    let template = Template::load();
    let functions: Vec<_> = template.resources("AWS::Serverless::Function").collect();
    for (name, function) in &functions {
        assert_eq!(
            function["LoggingConfig"]["ApplicationLogLevel"], "TRACE",
            "{name}"
        );
    }
    let (_, subscriber) = functions
        .iter()
        .find(|(name, _)| *name == "Subscriber")
        .unwrap();
    let watch = &subscriber["Events"]["Watch"]["Properties"];
    assert_eq!(watch["ScheduleExpression"], "rate(15 minutes)");
    assert_eq!(watch["Input"], "{\"watch\": true}");
    assert!(
        watch.get("State").is_none(),
        "not governed by ScheduleState"
    );
}

/// The publisher parks a message with a reason before SQS would park it without one.
#[test]
fn publishers_know_how_often_sqs_delivers_and_which_secrets_they_may_read() {
    for path in ["template.yaml", "infra/outgoing.yaml"] {
        let template = Template::load_from(path);
        let functions = template.resources("AWS::Serverless::Function");
        let queues: Vec<_> = template.resources("AWS::SQS::Queue").collect();
        let mut publishers = 0;
        for (_, function) in functions {
            let variables = &function["Environment"]["Variables"];
            let Some(queue) = variables["PUBLISH_QUEUE_URL"]["Ref"].as_str() else {
                continue;
            };
            publishers += 1;
            let (_, queue) = queues.iter().find(|(name, _)| *name == queue).unwrap();
            assert_eq!(
                variables["MAX_RECEIVE_COUNT"].as_str().unwrap(),
                queue["RedrivePolicy"]["maxReceiveCount"].to_string(),
                "{path}"
            );
            assert_eq!(
                variables["CLIENT_SECRET_PREFIX"]["Ref"],
                "ClientSecretPrefix"
            );
            assert!(queue["ContentBasedDeduplication"].is_null(), "{path}");
        }
        assert_eq!(publishers, 1, "{path}");
    }
}

/// The words in backquotes in the first column of the tables under "At 3 a.m.".
fn rows() -> Names {
    let operations = std::fs::read_to_string(root().join("infra/OPERATIONS.md")).unwrap();
    let section = operations.split("## At 3 a.m.").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut rows = Names::new();
    for line in section.lines().filter(|line| line.starts_with("| ")) {
        let first = line.split('|').nth(1).unwrap();
        rows.extend(first.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    rows
}

#[test]
fn operations_has_a_row_for_every_alarm_and_every_kind_of_error_and_no_other() {
    let alarms = Template::load().alarms();
    let nested = ["infra/outgoing.yaml", "infra/doorbell.yaml"];
    let nested = nested
        .into_iter()
        .flat_map(|path| Template::load_from(path).alarms());
    let alarms = alarms.into_iter().chain(nested).map(|alarm| alarm.name);
    let subscriber = subscriber::Kind::VARIANTS.iter().map(|kind| kind.name());
    let publisher = publisher::Kind::VARIANTS.iter().map(|kind| kind.name());
    let doorbell = doorbell::Kind::VARIANTS.iter().map(|kind| kind.name());
    let kinds = subscriber
        .chain(publisher)
        .chain(doorbell)
        .map(str::to_owned);
    let expected: Names = alarms.chain(kinds).collect();
    assert_eq!(rows(), expected);
}

#[test]
fn the_costs_count_every_metric_and_every_alarm() {
    let operations = std::fs::read_to_string(root().join("infra/OPERATIONS.md")).unwrap();
    let further = Template::load_from("infra/outgoing.yaml").alarms().len();
    assert_eq!(further, 3, "as many as \"three more\"");
    for told in [
        format!("| metrics | {} names, ", Metric::VARIANTS.len()),
        format!(
            "| alarms | {}, $0.10 each; three more per",
            Template::load().alarms().len()
        ),
    ] {
        assert!(operations.contains(&told), "{told}");
    }
}
