use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use jsonschema::Validator;
use serde_json::Value;

/// The JSON Schema of the embedded metric format, published by `CloudWatch`.
static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema = include_str!("../embedded-metric-format.schema.json");
    let schema = serde_json::from_str(schema).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
});

/// The namespace of the stack's metrics. In the template it is `!Ref AWS::StackName`.
const STACK: &str = "stack";

/// An alarm of a template.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// The logical id in the template.
    pub name: String,
    /// The text that an operator gets with the alarm.
    pub description: String,
    /// The metric that the alarm watches.
    pub series: Series,
    /// How the values of a period are combined: `Maximum` or `Sum`.
    pub statistic: String,
    /// The length of a period.
    pub period: SignedDuration,
    /// How many consecutive periods must breach the threshold.
    pub periods: usize,
    /// A value breaches if it is above this.
    pub threshold: f64,
    /// How a period without values counts.
    pub missing: Missing,
}

/// How a period without values counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It breaches the threshold.
    Breaching,
    /// It does not breach the threshold.
    NotBreaching,
    /// It counts like the last period with values.
    Ignore,
}

/// A metric under one set of dimensions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// `AWS/SQS`, `AWS/Lambda` or the stack's own.
    pub namespace: String,
    /// The name of the metric.
    pub metric: String,
    /// Names and values of the dimensions. For AWS's own metrics, the value is the logical id in the template.
    pub dimensions: Vec<(String, String)>,
}

impl Alarm {
    pub(crate) fn of(name: &str, properties: &Value) -> Self {
        let text = |field: &str| {
            let value = properties[field].as_str();
            value
                .unwrap_or_else(|| panic!("{name}: {field}"))
                .to_owned()
        };
        let number = |field: &str| properties[field].as_i64().expect("a number");
        let dimensions = properties["Dimensions"].as_array();
        let logical = |value: &Value| {
            let name = value["Ref"].as_str().or(value["Fn::GetAtt"][0].as_str());
            name.expect("a resource").to_owned()
        };
        assert_eq!(text("ComparisonOperator"), "GreaterThanThreshold");
        Self {
            name: name.to_owned(),
            description: text("AlarmDescription"),
            series: Series {
                namespace: properties["Namespace"]
                    .as_str()
                    .map_or(STACK, |namespace| namespace)
                    .to_owned(),
                metric: text("MetricName"),
                dimensions: dimensions
                    .into_iter()
                    .flatten()
                    .map(|dimension| {
                        let name = dimension["Name"].as_str().expect("a name");
                        (name.to_owned(), logical(&dimension["Value"]))
                    })
                    .collect(),
            },
            statistic: text("Statistic"),
            period: SignedDuration::from_secs(number("Period")),
            periods: usize::try_from(number("EvaluationPeriods")).expect("a count"),
            threshold: properties["Threshold"].as_f64().expect("a number"),
            missing: match text("TreatMissingData").as_str() {
                "breaching" => Missing::Breaching,
                "notBreaching" => Missing::NotBreaching,
                "ignore" => Missing::Ignore,
                other => panic!("{name}: {other}"),
            },
        }
    }
}

/// Metrics, and the alarms that watch them.
#[derive(Debug, Default)]
pub struct CloudWatch {
    values: BTreeMap<Series, Vec<(Timestamp, f64)>>,
}

impl CloudWatch {
    /// Takes a log line. A line in the embedded metric format must be valid.
    pub fn log(&mut self, line: &Value) {
        if line.get("_aws").is_none() {
            return;
        }
        if let Err(error) = SCHEMA.validate(line) {
            panic!("{error}: {line}");
        }
        let at = line["_aws"]["Timestamp"].as_i64().expect("checked");
        let at = Timestamp::from_millisecond(at).expect("a time");
        let directives = line["_aws"]["CloudWatchMetrics"].as_array();
        for directive in directives.into_iter().flatten() {
            for (set, metric) in pairs(directive) {
                let dimensions = set.iter().map(|name| {
                    let value = line[name].as_str();
                    let value = value.unwrap_or_else(|| panic!("no dimension {name}: {line}"));
                    (name.clone(), value.to_owned())
                });
                let series = Series {
                    namespace: directive["Namespace"].as_str().expect("checked").to_owned(),
                    dimensions: dimensions.collect(),
                    metric,
                };
                for value in numbers(&line[&series.metric]) {
                    self.put(series.clone(), at, value);
                }
            }
        }
    }

    /// Takes a value that AWS itself measures: `metric` of the resource with that logical id.
    pub fn measure(&mut self, metric: &str, resource: &str, at: Timestamp, value: f64) {
        let (namespace, dimension) = match metric {
            "Errors" => ("AWS/Lambda", "FunctionName"),
            _ => ("AWS/SQS", "QueueName"),
        };
        let series = Series {
            namespace: namespace.to_owned(),
            metric: metric.to_owned(),
            dimensions: vec![(dimension.to_owned(), resource.to_owned())],
        };
        self.put(series, at, value);
    }

    fn put(&mut self, series: Series, at: Timestamp, value: f64) {
        self.values.entry(series).or_default().push((at, value));
    }

    /// The values of a metric without dimensions.
    pub fn values(&self, metric: &str) -> Vec<(Timestamp, f64)> {
        let series = Series {
            namespace: STACK.to_owned(),
            metric: metric.to_owned(),
            dimensions: Vec::new(),
        };
        self.values.get(&series).cloned().unwrap_or_default()
    }

    /// All metrics, once for each set of dimensions.
    pub fn series(&self) -> impl Iterator<Item = &Series> {
        self.values.keys()
    }

    /// The start of each period with values, in Unix seconds, and the statistic over its values. `period` is in
    /// seconds. `statistic` is `Sum`, `Maximum`, `p50` or `p95`.
    pub fn statistic(&self, series: &Series, statistic: &str, period: i64) -> Vec<(i64, f64)> {
        let mut periods: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for (at, value) in self.values.get(series).into_iter().flatten() {
            let number = at.as_second().div_euclid(period);
            periods.entry(number).or_default().push(*value);
        }
        periods
            .into_iter()
            .map(|(number, values)| (number * period, of(values, statistic)))
            .collect()
    }

    /// The names of the alarms that were raised at any time between `from` and `to`.
    pub fn raised(&self, alarms: &[Alarm], from: Timestamp, to: Timestamp) -> Vec<String> {
        let raised = alarms.iter().filter(|alarm| {
            let breaches = self.breaches(alarm, from, to);
            breaches
                .windows(alarm.periods)
                .any(|window| window.iter().all(|breach| *breach))
        });
        let mut names: Vec<String> = raised.map(|alarm| alarm.name.clone()).collect();
        names.sort();
        names
    }

    /// The names of the alarms that are raised at `now`.
    pub fn in_alarm(&self, alarms: &[Alarm], now: Timestamp) -> Vec<String> {
        let raised = alarms.iter().filter(|alarm| {
            let periods = i32::try_from(alarm.periods + 1).expect("a few");
            let breaches = self.breaches(alarm, now - alarm.period * periods, now);
            breaches.iter().all(|breach| *breach)
        });
        raised.map(|alarm| alarm.name.clone()).collect()
    }

    /// Whether each whole period between `from` and `to` breached the threshold.
    fn breaches(&self, alarm: &Alarm, from: Timestamp, to: Timestamp) -> Vec<bool> {
        let length = alarm.period.as_secs();
        let number = |at: Timestamp| at.as_second().div_euclid(length);
        let periods = self.statistic(&alarm.series, &alarm.statistic, length);
        let periods: BTreeMap<i64, f64> = periods.into_iter().collect();
        let is_high = |value: &f64| *value > alarm.threshold;
        let breaches = |period: i64| match (periods.get(&(period * length)), alarm.missing) {
            (Some(value), _) => is_high(value),
            (None, Missing::Breaching) => true,
            (None, Missing::NotBreaching) => false,
            (None, Missing::Ignore) => {
                let last = periods.range(..period * length).next_back();
                last.is_some_and(|(_, value)| is_high(value))
            }
        };
        (number(from) + 1..number(to)).map(breaches).collect()
    }
}

fn of(mut values: Vec<f64>, statistic: &str) -> f64 {
    values.sort_by(f64::total_cmp);
    let percentile = |percent: usize| values[(values.len() - 1) * percent / 100];
    match statistic {
        "Sum" => values.iter().sum(),
        "Maximum" => percentile(100),
        "p50" => percentile(50),
        "p95" => percentile(95),
        other => panic!("{other}: not known"),
    }
}

/// Each metric of a directive with each of its sets of dimensions.
fn pairs(directive: &Value) -> Vec<(Vec<String>, String)> {
    let texts = |list: &Value| -> Vec<String> {
        let items = list.as_array().into_iter().flatten();
        items
            .map(|item| item.as_str().expect("checked").to_owned())
            .collect()
    };
    let sets = directive["Dimensions"].as_array().into_iter().flatten();
    let metrics = || directive["Metrics"].as_array().into_iter().flatten();
    sets.flat_map(|set| {
        let set = texts(set);
        metrics().map(move |metric| {
            let name = metric["Name"].as_str().expect("checked");
            (set.clone(), name.to_owned())
        })
    })
    .collect()
}

/// The specification allows a number, or an array of at most a hundred numbers.
fn numbers(value: &Value) -> Vec<f64> {
    let values = match value {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    assert!((1..=100).contains(&values.len()), "{values:?}");
    values
        .iter()
        .map(|value| value.as_f64().expect("a number"))
        .collect()
}
