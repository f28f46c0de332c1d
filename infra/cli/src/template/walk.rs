//! Walks through a template and the templates that it nests.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use protime::Settings;

use super::document::Document;
use super::evaluate::{Scope, Values};
use super::finding::Finding;
use super::incoming::{self, Known};
use super::schedule::{self, Schedule};
use super::text::{File, Span, Text};
use super::yaml::{self, Content, Node};
use super::{across, outgoing, samconfig};

const CLIENT_SECRET_PREFIX: &str = "ClientSecretPrefix";
/// The default name of a stack.
const STACK: &str = "protime-connector";
/// A template that is nested deeper than this nests itself by another path.
const MOST_NESTED: usize = 20;

/// The files and findings of a walk.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) files: Vec<File>,
    pub(super) findings: Vec<Finding>,
    /// The indices of the files that are templates.
    pub(super) templates: BTreeSet<usize>,
    pub(super) incoming: usize,
    pub(super) outgoing: usize,
    known: Vec<Known>,
    settings: Settings,
    now: Timestamp,
}

/// What the nesting template says about a nested one.
struct Nesting<'a> {
    /// The place of the nesting resource's name.
    name: Span,
    /// The parameters that the nesting template sets.
    parameters: &'a [(Node, Node)],
}

impl Walk {
    pub(super) fn new(settings: Settings, now: Timestamp) -> Self {
        Self {
            files: Vec::new(),
            findings: Vec::new(),
            templates: BTreeSet::new(),
            incoming: 0,
            outgoing: 0,
            known: Vec::new(),
            settings,
            now,
        }
    }

    /// Checks a template that is deployed by itself.
    pub(super) fn template(&mut self, path: &Path, text: &str) {
        let given = self.overrides(path);
        self.known.clear();
        let file = self.file(path, text);
        self.visit(file, given, STACK.to_owned(), &[path.to_owned()], None);
        across::check(&self.known, &self.files, &mut self.findings);
    }

    /// The index of a file. A file that is nested twice is read once.
    fn file(&mut self, path: &Path, text: &str) -> usize {
        let path = path.to_string_lossy().into_owned();
        let known = self.files.iter().position(|file| file.path == path);
        known.unwrap_or_else(|| {
            let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
            self.files.push(File { path, text });
            self.files.len() - 1
        })
    }

    /// The parameters that `sam deploy` would set, with their places in its file.
    fn overrides(&mut self, template: &Path) -> Values {
        let path = template.with_file_name("samconfig.toml");
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Values::new();
        };
        let text = text.trim_start_matches('\u{feff}');
        let pairs = samconfig::overrides(text);
        let file = self.file(&path, text);
        let placed = pairs.into_iter().map(|(name, value)| {
            let start = text.find(&name).unwrap_or_default();
            let found = text[start..].find(&value).map(|at| start + at);
            let value = match found {
                Some(at) => {
                    let offsets: Vec<usize> = (at..at + value.len()).collect();
                    Text::written(value, file, &offsets)
                }
                None => Text::at_span(
                    value,
                    Span {
                        file,
                        start,
                        end: start + name.len(),
                    },
                ),
            };
            (name, value)
        });
        placed.collect()
    }

    fn visit(
        &mut self,
        file: usize,
        given: Values,
        stack: String,
        ancestors: &[PathBuf],
        nesting: Option<&Nesting<'_>>,
    ) {
        self.templates.insert(file);
        let text = self.files[file].text.clone();
        let beginning = Span {
            file,
            start: 0,
            end: 1,
        };
        let root = match yaml::parse(&text, file) {
            Ok(root) => root,
            Err((message, span)) => return self.findings.push(Finding::mistake(span, message)),
        };
        let Some((root, resources)) = root
            .as_ref()
            .and_then(|root| Some((root, root.get("Resources")?)))
        else {
            let message = "not a template: there are no `Resources`";
            return self.findings.push(Finding::mistake(beginning, message));
        };
        if let Some(nesting) = nesting {
            self.check_parameters(root, nesting);
        }
        let scope = Scope { root, given, stack };
        let everywhere = root.at(&["Globals", "Function"]);
        if let Some(properties) = everywhere {
            self.outgoing(&scope, properties);
        }
        for (name, resource) in resources.members() {
            for schedule in schedule::of_resource(&scope, name, resource) {
                self.scheduled(&scope, &schedule);
            }
            let Some(properties) = resource.get("Properties") else {
                continue;
            };
            match resource.get("Type").and_then(Node::as_str) {
                Some("AWS::Serverless::Function" | "AWS::Lambda::Function") => {
                    self.outgoing(&scope, properties);
                }
                Some("AWS::Serverless::Application") => {
                    self.nested(&scope, name, properties, "Location", ancestors);
                }
                Some("AWS::CloudFormation::Stack") => {
                    self.nested(&scope, name, properties, "TemplateURL", ancestors);
                }
                _ => {}
            }
        }
    }

    fn outgoing(&mut self, scope: &Scope<'_>, properties: &Node) {
        let Some(node) = properties.at(&["Environment", "Variables", "OUTGOING"]) else {
            return;
        };
        self.outgoing += 1;
        if let Some(text) = scope.text(node, &mut self.findings) {
            let prefix = scope.parameter(CLIENT_SECRET_PREFIX);
            outgoing::check(&text, prefix.as_ref(), &mut self.findings);
        }
    }

    fn scheduled(&mut self, scope: &Scope<'_>, schedule: &Schedule<'_>) {
        let Some(input) = schedule.input else {
            if schedule.is_of_subscriber {
                schedule::check_time(schedule, scope, &mut self.findings);
                let message = "the subscriber's schedule has no `Input`; it needs an incoming connection, as JSON";
                self.findings.push(Finding::mistake(schedule.name, message));
            }
            return;
        };
        if matches!(input.content, Content::Mapping(_) | Content::Sequence(_)) {
            if schedule.is_of_subscriber {
                let message = "Input: needs text with JSON; write `Input: |`, and the JSON below";
                self.findings.push(Finding::mistake(input.span, message));
            }
            return;
        }
        let mut unknown = Vec::new();
        let Some(text) = scope.text(input, &mut unknown) else {
            return;
        };
        let is_meant = incoming::is_meant(text.as_str()) || text.as_str().contains("\"incoming\"");
        if !is_meant && !schedule.is_of_subscriber {
            return;
        }
        self.findings.append(&mut unknown);
        schedule::check_time(schedule, scope, &mut self.findings);
        if text.is_all_placeholder() || (!is_meant && incoming::is_other_event(text.as_str())) {
            return;
        }
        self.incoming += 1;
        if text.as_str().trim().is_empty() {
            let message = "Input: empty; it needs an incoming connection, as JSON";
            return self.findings.push(Finding::mistake(input.span, message));
        }
        let Some(document) = Document::new("Input", &text, &mut self.findings) else {
            return;
        };
        let known = incoming::check(&document, &self.settings, self.now, &mut self.findings);
        let prefix = scope.parameter(CLIENT_SECRET_PREFIX);
        incoming::check_client(&document, prefix.as_ref(), &mut self.findings);
        self.known.push(Known {
            is_deployed: schedule.is_deployed,
            ..known
        });
    }

    fn nested(
        &mut self,
        scope: &Scope<'_>,
        name: &Node,
        properties: &Node,
        location: &str,
        ancestors: &[PathBuf],
    ) {
        let Some(location) = properties.get(location) else {
            return;
        };
        let Some(written) = scope.text(location, &mut self.findings) else {
            return;
        };
        // Some locations are made by a deployment, or are URLs.
        let is_here = !written.as_str().contains("://");
        if !is_here || written.has_placeholder(0..written.as_str().len()) {
            return;
        }
        let directory = ancestors.last().and_then(|path| path.parent());
        let path = directory.map_or_else(PathBuf::new, Path::to_owned);
        let path: PathBuf = path
            .join(written.as_str())
            .components()
            .filter(|part| *part != Component::CurDir)
            .collect();
        let span = written.span(0..written.as_str().len());
        let span = span.unwrap_or(location.span);
        if ancestors.contains(&path) || ancestors.len() > MOST_NESTED {
            let message = format!("{}: nests itself", path.display());
            return self.findings.push(Finding::mistake(span, message));
        }
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("{}: {error}", path.display());
                return self.findings.push(Finding::mistake(span, message));
            }
        };
        let parameters = properties.get("Parameters").map_or(&[][..], Node::members);
        let mut given = Values::new();
        for (name, value) in parameters {
            let text = scope.text(value, &mut self.findings);
            let unknown = || Text::at_span("placeholder", value.span).into_placeholder();
            let name = name.as_str().unwrap_or_default().to_owned();
            given.insert(name, text.unwrap_or_else(unknown));
        }
        let file = self.file(&path, &text);
        let stack = format!("{}-{}", scope.stack, name.as_str().unwrap_or_default());
        let ancestors = [ancestors, &[path]].concat();
        let nesting = Nesting {
            name: name.span,
            parameters,
        };
        self.visit(file, given, stack, &ancestors, Some(&nesting));
    }

    /// Checks that a nested template gets exactly the parameters that it declares.
    fn check_parameters(&mut self, root: &Node, nesting: &Nesting<'_>) {
        let declared = root.get("Parameters").map_or(&[][..], Node::members);
        let names = || declared.iter().filter_map(|(name, _)| name.as_str());
        let given = || nesting.parameters.iter().map(|(name, _)| name);
        for name in given() {
            let text = name.as_str().unwrap_or_default();
            if names().any(|declared| declared == text) {
                continue;
            }
            let hint = match protime::nearest(text, names()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
            };
            let message = format!("the nested template has no parameter `{text}`; {hint}");
            self.findings.push(Finding::mistake(name.span, message));
        }
        for (name, parameter) in declared {
            let is_given = given().any(|given| given.as_str() == name.as_str());
            if !is_given && parameter.get("Default").is_none() {
                let name = name.as_str().unwrap_or_default();
                let message =
                    format!("the nested template needs the parameter `{name}`, which is not given");
                self.findings.push(Finding::mistake(nesting.name, message));
            }
        }
    }
}
