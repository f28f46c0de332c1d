//! `new connection`: writes one schedule into the template of connections.

use connector::contract::connection::IncomingConnection;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use protime::catalogue::{FieldType, OperationKind, catalogue};
use serde_json::{Value, json};

use super::ask::Question;
use super::{check_entity, file, yaml};
use crate::arguments::{NewConnection, SyncMode};
use crate::confirm::{confirm, has_terminal};
use crate::error::{Code, Error};
use crate::output::{Report, hint};
use crate::template;

/// The default of the template's parameter `ClientSecretPrefix`.
const PREFIX: &str = "protime/";
const NIGHTLY: &str = "cron(0 3 * * ? *)";
const ZONE: &str = "Europe/Brussels";

pub(super) fn new(arguments: &NewConnection) -> Result<Report, Error> {
    let answers = Answers::of(arguments)?;
    let name = &answers.name;
    let now = Timestamp::now();
    let event = yaml::object(&answers.event());
    let read = IncomingConnection::from_event(&event, "new", now);
    read.map_err(|error| Error::Run(error.into()))?;
    let resource = yaml::logical_id(name);
    if resource.is_empty() {
        let problem = format!("connection `{name}`: its name needs a letter or a digit");
        return Err(Error::Connection(problem));
    }
    let block = block(&resource, &answers, &event);
    let path = &arguments.file;
    let shown = path.display();
    let text = template::insert(&file::read(path)?, &resource, &block)
        .map_err(|error| Error::Connection(format!("connection `{name}`: {shown} {error}")))?;
    let warnings = check(name, arguments, &text, now)?;
    for warning in &warnings {
        hint(format!("warning: {warning}"));
    }
    let is_asked = !(arguments.change.yes || arguments.change.dry_run);
    if is_asked && has_terminal() {
        anstream::eprintln!("{block}");
    }
    let is_agreed = confirm(
        &arguments.change,
        &format!("write connection `{name}` into {shown}"),
    )?;
    let json = json!({
        "done": is_agreed, "connection": name, "resource": resource, "file": path, "block": block, "warnings": warnings,
    });
    if !is_agreed {
        let text = if arguments.change.dry_run {
            block
        } else {
            String::new()
        };
        return Ok(Report::new(json, text));
    }
    file::write(path, &text)?;
    hint("Next: protimectl check template.yaml, then deploy.");
    Ok(Report::new(
        json,
        format!("connection `{name}` is in {shown}\n"),
    ))
}

/// Checks the whole template as it would become. Returns the warnings.
fn check(
    name: &str,
    arguments: &NewConnection,
    text: &str,
    now: Timestamp,
) -> Result<Vec<String>, Error> {
    let checked = template::check_text(&arguments.file, text, now)?;
    let findings = checked.json["findings"].as_array();
    let messages = |severity: &str| {
        let all = findings.into_iter().flatten();
        let found = all.filter(|finding| finding["severity"] == severity);
        let texts = found.filter_map(|finding| finding["message"].as_str());
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    if checked.code == Code::Ok {
        return Ok(messages("warning"));
    }
    let file = arguments.file.display();
    Err(Error::Connection(format!(
        "{}; connection `{name}` was not written into {file}",
        messages("error").join("; ")
    )))
}

/// The values of a connection.
struct Answers {
    name: String,
    client: String,
    entity: String,
    path: Value,
    sync: SyncMode,
    filter: Option<String>,
    transform: String,
    fields: Value,
    schedule: String,
    time_zone: String,
}

impl Answers {
    fn of(given: &NewConnection) -> Result<Self, Error> {
        let client = question("--client", "client, the name of its secret", None)
            .answer(given.client.as_deref(), not_empty)?;
        let entity = question("--entity", "entity, such as clockings", None)
            .answer(given.entity.as_deref(), check_entity)?;
        let usual_name = entity.trim_start_matches('/').replace('/', "-");
        let name = question("NAME", "name of the connection", Some(usual_name))
            .answer(given.name.as_deref(), not_empty)?;
        let sync = sync(given, &entity)?;
        let transform = match (&given.transform, &given.filter) {
            (None, Some(_)) => String::new(),
            (transform, _) => {
                let prompt = "transformer, a jq program that sets the filter";
                question(
                    "--transform",
                    prompt,
                    Some(usual_transformer(&entity, sync)),
                )
                .answer(transform.as_deref(), |_| Ok(()))?
            }
        };
        let fields = question(
            "--fields",
            "properties that are sent, separated by commas (empty: all)",
            Some(String::new()),
        )
        .answer(given.fields.as_deref(), |_| Ok(()))?;
        let schedule = question("--schedule", "schedule", Some(NIGHTLY.to_owned()))
            .answer(given.schedule.as_deref(), check_schedule)?;
        let time_zone = question("--time-zone", "time zone", Some(ZONE.to_owned()))
            .answer(given.time_zone.as_deref(), check_zone)?;
        Ok(Self {
            name,
            client,
            entity,
            path: path(given),
            sync,
            filter: given.filter.clone(),
            transform,
            fields: listed(&fields),
            schedule,
            time_zone,
        })
    }

    /// The event's fields, in the order of the documentation.
    fn event(&self) -> Vec<(&'static str, Value)> {
        let sync = match self.sync {
            SyncMode::Full => "full",
            SyncMode::Delta => "delta",
        };
        let filter = self.filter.as_ref().map(|filter| json!({"filter": filter}));
        let fields = [
            ("incoming", json!(self.name)),
            ("client", json!(self.client)),
            ("entity", json!(self.entity)),
            ("path", self.path.clone()),
            ("query", filter.unwrap_or_default()),
            ("transform", json!(self.transform)),
            ("fields", self.fields.clone()),
            ("sync", json!(sync)),
            ("time_zone", json!(self.time_zone)),
            ("scheduled", json!("<aws.scheduler.scheduled-time>")),
        ];
        let is_said = |value: &Value| !value.is_null() && value != "";
        fields
            .into_iter()
            .filter(|(_, value)| is_said(value))
            .collect()
    }
}

fn question<'a>(argument: &'a str, prompt: &'a str, default: Option<String>) -> Question<'a> {
    Question {
        argument,
        prompt,
        default,
    }
}

fn sync(given: &NewConnection, entity: &str) -> Result<SyncMode, Error> {
    if let Some(sync) = given.sync {
        return Ok(sync);
    }
    let known = catalogue().entity(entity);
    let delta = known.and_then(|entity| entity.operation(OperationKind::Delta));
    if delta.is_none() {
        return Ok(SyncMode::Full);
    }
    let words = [
        "full: everything, every time",
        "delta: everything once, and then what changed",
    ];
    let chosen = question("--sync", "what to read", None).choice(None, &words)?;
    Ok(if chosen == words[1] {
        SyncMode::Delta
    } else {
        SyncMode::Full
    })
}

/// The path parameters, or null if there are none. Digits become JSON numbers.
fn path(given: &NewConnection) -> Value {
    let members = given.path.iter().map(|(name, value)| {
        let number = value.parse::<u64>().ok().map(Value::from);
        (name.clone(), number.unwrap_or_else(|| json!(value)))
    });
    let members: serde_json::Map<String, Value> = members.collect();
    if members.is_empty() {
        Value::Null
    } else {
        members.into()
    }
}

/// The parts between commas, or null if there are none.
fn listed(text: &str) -> Value {
    let names = text.split(',').map(str::trim);
    let names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        Value::Null
    } else {
        json!(names)
    }
}

/// A transformer for lists that Protime refuses without dates. A full read takes the last seven days; a delta takes the
/// whole year.
fn usual_transformer(entity: &str, sync: SyncMode) -> String {
    let list = catalogue()
        .entity(entity)
        .and_then(|entity| entity.operation(OperationKind::List));
    let fields = list
        .and_then(|list| list.filters.as_ref())
        .into_iter()
        .flatten();
    let mut needed = fields.filter(|field| field.required && field.kind == FieldType::Date);
    let Some(date) = needed.next().map(|field| field.name) else {
        return String::new();
    };
    match sync {
        SyncMode::Full => {
            format!(".query.filter = \"{date} ge '\\(days(-7))' and {date} le '\\(today)'\"")
        }
        SyncMode::Delta => format!(".query.filter = \"{date} ge '\\(start_of_year)'\""),
    }
}

fn not_empty(text: &str) -> Result<(), String> {
    let is_empty = text.trim().is_empty();
    if is_empty {
        Err("empty".to_owned())
    } else {
        Ok(())
    }
}

fn check_schedule(text: &str) -> Result<(), String> {
    if text.contains(char::is_control) {
        return Err("needs to be one line".to_owned());
    }
    template::check_schedule(text)
}

fn check_zone(name: &str) -> Result<(), String> {
    let known = TimeZone::get(name).map(|_| ());
    known.map_err(|_| format!("time zone `{name}`: unknown; use a name such as Europe/Brussels"))
}

/// The resource, in the form of the schedules in template.yaml.
fn block(resource: &str, answers: &Answers, event: &str) -> String {
    let (schedule, zone) = (&answers.schedule, &answers.time_zone);
    // `Fn::Sub` leaves `${!` alone.
    let event = event.replace("${", "${!").replacen(
        &format!("\"client\": \"{PREFIX}"),
        "\"client\": \"${ClientSecretPrefix}",
        1,
    );
    let event = event.lines().map(|line| format!("        {line}\n"));
    format!(
        r#"{resource}:
  Type: AWS::Scheduler::Schedule
  Properties:
    GroupName: !Ref ScheduleGroup
    ScheduleExpression: {schedule}
    ScheduleExpressionTimezone: {zone}
    FlexibleTimeWindow: {{Mode: "OFF"}}
    State: !Ref ScheduleState
    Target:
      Arn: !Ref SubscriberArn
      RoleArn: !GetAtt ScheduleRole.Arn
      RetryPolicy:
        MaximumRetryAttempts: 5
        MaximumEventAgeInSeconds: 3600
      DeadLetterConfig:
        Arn: !Ref ScheduleDeadLetterQueueArn
      Input: !Sub |
{}"#,
        event.collect::<String>()
    )
}
