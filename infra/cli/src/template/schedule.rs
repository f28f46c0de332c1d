//! Schedules and what they invoke.

use jiff::tz::TimeZone;

use super::evaluate::Scope;
use super::expression::{self, Service};
use super::finding::Finding;
use super::text::Span;
use super::yaml::Node;

/// One schedule that invokes a function.
pub(super) struct Schedule<'n> {
    /// The place of the schedule's name.
    pub(super) name: Span,
    pub(super) input: Option<&'n Node>,
    pub(super) expression: Option<&'n Node>,
    pub(super) time_zone: Option<&'n Node>,
    pub(super) service: Service,
    /// Whether it invokes the subscriber, as far as the template shows.
    pub(super) is_of_subscriber: bool,
    pub(super) is_deployed: bool,
}

/// The schedules of a resource.
pub(super) fn of_resource<'n>(
    scope: &Scope<'n>,
    name: &'n Node,
    resource: &'n Node,
) -> Vec<Schedule<'n>> {
    let is_deployed = scope.is_deployed(resource);
    let properties = resource.get("Properties");
    let property = |path: &[&str]| properties.and_then(|properties| properties.at(path));
    match resource.get("Type").and_then(Node::as_str) {
        Some("AWS::Serverless::Function") => {
            let is_of_subscriber = is_subscriber(scope, name.as_str().unwrap_or_default());
            let events = property(&["Events"]).map_or(&[][..], Node::members);
            let found = events
                .iter()
                .filter_map(|(name, event)| of_event(name, event));
            found
                .map(|schedule| Schedule {
                    is_of_subscriber,
                    is_deployed,
                    ..schedule
                })
                .collect()
        }
        Some("AWS::Scheduler::Schedule") => vec![Schedule {
            name: name.span,
            input: property(&["Target", "Input"]),
            expression: property(&["ScheduleExpression"]),
            time_zone: property(&["ScheduleExpressionTimezone"]),
            service: Service::Scheduler,
            is_of_subscriber: is_target(scope, property(&["Target", "Arn"])),
            is_deployed,
        }],
        Some("AWS::Events::Rule") => {
            let targets = property(&["Targets"]).map_or(&[][..], Node::items);
            let is_scheduled = property(&["ScheduleExpression"]).is_some();
            let is_fixed = |target: &&Node| {
                is_scheduled
                    && target.get("InputPath").is_none()
                    && target.get("InputTransformer").is_none()
            };
            let found = targets.iter().filter(is_fixed).map(|target| Schedule {
                name: target.span,
                input: target.get("Input"),
                expression: property(&["ScheduleExpression"]),
                time_zone: None,
                service: Service::Rules,
                is_of_subscriber: is_target(scope, target.get("Arn")),
                is_deployed,
            });
            found.collect()
        }
        _ => Vec::new(),
    }
}

/// The schedule in an event of a function. `None` if the event is of another type.
fn of_event<'n>(name: &'n Node, event: &'n Node) -> Option<Schedule<'n>> {
    let (expression, service) = match event.get("Type")?.as_str()? {
        "Schedule" => ("Schedule", Service::Rules),
        "ScheduleV2" => ("ScheduleExpression", Service::Scheduler),
        _ => return None,
    };
    let properties = event.get("Properties")?;
    Some(Schedule {
        name: name.span,
        input: properties.get("Input"),
        expression: properties.get(expression),
        time_zone: properties.get("ScheduleExpressionTimezone"),
        service,
        is_of_subscriber: false,
        is_deployed: true,
    })
}

/// Whether a function is the subscriber, judged by its name or its code.
fn is_subscriber(scope: &Scope<'_>, name: &str) -> bool {
    let code = scope
        .root
        .at(&["Resources", name, "Properties", "CodeUri"])
        .and_then(Node::as_str);
    let says_so = |text: &str| text.to_lowercase().contains("subscriber");
    says_so(name) || code.is_some_and(says_so)
}

fn is_target(scope: &Scope<'_>, arn: Option<&Node>) -> bool {
    let Some(arn) = arn else { return false };
    let written = arn.as_str().unwrap_or_default();
    let mut names = arn.references().into_iter().chain([written]);
    names.any(|name| is_subscriber(scope, name))
}

/// Checks the schedule's expression.
pub(super) fn check_time(schedule: &Schedule<'_>, scope: &Scope<'_>, findings: &mut Vec<Finding>) {
    let expression = schedule.expression;
    if let Some(text) = expression.and_then(|node| scope.text(node, findings))
        && !text.has_placeholder(0..text.as_str().len())
        && let Err(wrong) = expression::check(text.as_str(), schedule.service)
        && let Some(span) = text.span(wrong.part).or(expression.map(|node| node.span))
    {
        findings.push(Finding::mistake(span, wrong.problem));
    }
    let zone = schedule.time_zone;
    if let Some(text) = zone.and_then(|node| scope.text(node, findings))
        && !text.has_placeholder(0..text.as_str().len())
        && TimeZone::get(text.as_str()).is_err()
        && let Some(span) = text
            .span(0..text.as_str().len())
            .or(zone.map(|node| node.span))
    {
        let name = text.as_str();
        findings.push(Finding::mistake(
            span,
            format!("time zone `{name}`: unknown; {}", zone_meant(name)),
        ));
    }
}

fn zone_meant(name: &str) -> String {
    let known: Vec<String> = jiff::tz::db()
        .available()
        .map(|name| name.to_string())
        .collect();
    match protime::nearest(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "use a name such as Europe/Brussels".to_owned(),
    }
}
