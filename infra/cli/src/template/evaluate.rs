//! Evaluates the functions of `CloudFormation` that make texts.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::plausible;
use super::text::{Span, Text};
use super::yaml::{Content, Node};

/// The suffixes that SAM adds to a function's name for the resources that it creates.
const ADDED_BY_SAM: [&str; 3] = ["Role", "Alias", "Version"];
/// Conditions may refer to conditions. More steps than this mean a circle.
const MOST_CONDITIONS: usize = 100;

/// Parameters' values by name.
pub(super) type Values = BTreeMap<String, Text>;

/// The template and values that its functions see.
pub(super) struct Scope<'a> {
    pub(super) root: &'a Node,
    /// The values that are set; other parameters have their defaults.
    pub(super) given: Values,
    pub(super) stack: String,
}

/// The names that a `Fn::Sub` defines for itself.
type Locals<'a> = &'a [(Node, Node)];

impl Scope<'_> {
    /// The text of a node. `None` if the node is not a text or its text cannot be known.
    ///
    /// A name that does not exist is reported as a mistake.
    pub(super) fn text(&self, node: &Node, findings: &mut Vec<Finding>) -> Option<Text> {
        match &node.content {
            Content::Scalar(text) => Some(text.clone()),
            Content::Sequence(_) | Content::Mapping(_) => None,
            Content::Function(name, argument) => match name.as_str() {
                "Ref" => self.whole(argument.as_str()?, node.span, findings),
                "GetAtt" => {
                    let parts: Vec<&str> =
                        argument.items().iter().filter_map(Node::as_str).collect();
                    let joined = parts.join(".");
                    let path = argument.as_str().unwrap_or(&joined);
                    self.whole(path, node.span, findings)
                }
                "Sub" => self.substituted(argument, findings),
                "If" => self.text(self.chosen(argument)?, findings),
                "Join" => {
                    let [separator, items] = argument.items() else {
                        return None;
                    };
                    let separator = self.text(separator, findings)?;
                    let mut joined = Text::default();
                    for (index, item) in self.list(items, findings)?.iter().enumerate() {
                        if index > 0 {
                            joined.push(&separator);
                        }
                        joined.push(item);
                    }
                    Some(joined)
                }
                "Select" => {
                    let [index, items] = argument.items() else {
                        return None;
                    };
                    let index = self.text(index, findings)?;
                    let mut items = self.list(items, findings)?;
                    let index: usize = index.as_str().trim().parse().ok()?;
                    (index < items.len()).then(|| items.swap_remove(index))
                }
                "FindInMap" => self.text(self.found_in_map(argument, findings)?, findings),
                // Values that other stacks export, and functions not listed here.
                _ => Some(Text::at_span("placeholder", node.span).into_placeholder()),
            },
        }
    }

    /// The value of a parameter. `None` if the template does not declare it.
    pub(super) fn parameter(&self, name: &str) -> Option<Text> {
        let declared = self.root.at(&["Parameters", name])?;
        self.named(name, declared.span)
    }

    /// Whether a resource is deployed. If that is unknown, it counts as deployed.
    pub(super) fn is_deployed(&self, resource: &Node) -> bool {
        let condition = resource.get("Condition").and_then(Node::as_str);
        let holds = condition.and_then(|name| self.condition(name));
        holds.unwrap_or(true)
    }

    /// The texts of a list's items.
    fn list(&self, node: &Node, findings: &mut Vec<Finding>) -> Option<Vec<Text>> {
        match &node.content {
            Content::Sequence(items) => Some(
                items
                    .iter()
                    .filter_map(|item| self.text(item, findings))
                    .collect(),
            ),
            Content::Function(name, argument) => match name.as_str() {
                "Ref" => Some(self.text(node, findings)?.split(",")),
                "Split" => {
                    let [separator, text] = argument.items() else {
                        return None;
                    };
                    let separator = self.text(separator, findings)?;
                    let text = self.text(text, findings)?;
                    let is_split = !separator.as_str().is_empty();
                    Some(if is_split {
                        text.split(separator.as_str())
                    } else {
                        vec![text]
                    })
                }
                "If" => self.list(self.chosen(argument)?, findings),
                "FindInMap" => self.list(self.found_in_map(argument, findings)?, findings),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text of a name that stands alone, with the place where its value was written.
    fn whole(&self, name: &str, span: Span, findings: &mut Vec<Finding>) -> Option<Text> {
        if name == "AWS::NoValue" {
            return None;
        }
        if let Some(text) = self.named(name, span) {
            return Some(text);
        }
        findings.push(self.unknown(name, span));
        Some(Text::at_span("placeholder", span).into_placeholder())
    }

    fn substituted(&self, argument: &Node, findings: &mut Vec<Finding>) -> Option<Text> {
        let (template, locals) = match argument.items() {
            [template, locals] => (template.scalar()?, locals.members()),
            [template] => (template.scalar()?, &[][..]),
            _ => (argument.scalar()?, &[][..]),
        };
        let text = template.as_str();
        let mut made = Text::default();
        let mut at = 0;
        while let Some(start) = text[at..].find("${").map(|start| at + start) {
            let Some(end) = text[start..].find('}').map(|end| start + end) else {
                break;
            };
            made.push(&template.slice(at..start));
            let name = &text[start + 2..end];
            at = end + 1;
            let Some(span) = template.span(start..at) else {
                continue;
            };
            if name.starts_with('!') {
                made.push(&template.slice(start..start + 2));
                made.push(&template.slice(start + 3..at));
            } else {
                made.push(&self.inserted(name, span, locals, findings));
            }
        }
        made.push(&template.slice(at..text.len()));
        Some(made)
    }

    /// The text for `${Name}`, placed where the reader sees `${Name}`.
    fn inserted(
        &self,
        name: &str,
        span: Span,
        locals: Locals<'_>,
        findings: &mut Vec<Finding>,
    ) -> Text {
        let local = locals.iter().find(|(key, _)| key.as_str() == Some(name));
        let value = match local {
            Some((_, value)) => self.text(value, findings),
            None => self.whole(name, span, findings),
        };
        let unknown = || Text::at_span("placeholder", span).into_placeholder();
        value.unwrap_or_else(unknown).moved_to(span)
    }

    /// The value of a parameter, a resource, an attribute or a pseudo parameter.
    fn named(&self, name: &str, span: Span) -> Option<Text> {
        if let Some(declared) = self.root.at(&["Parameters", name]) {
            let given = self.given.get(name).cloned();
            return Some(given.unwrap_or_else(|| default(name, declared, span)));
        }
        if let Some(text) = plausible::pseudo_parameter(name, &self.stack) {
            return Some(Text::at_span(text, span));
        }
        let (logical, attribute) = match name.split_once('.') {
            Some((logical, attribute)) => (logical, Some(attribute)),
            None => (name, None),
        };
        let kind = self.kind(logical)?;
        let value = match attribute {
            Some(attribute) => plausible::attribute(logical, kind, attribute),
            None => plausible::resource(logical, kind),
        };
        let text = Text::at_span(value.text, span);
        Some(if value.is_representative {
            text
        } else {
            text.into_placeholder()
        })
    }

    /// The type of a resource. Empty for one that SAM adds.
    fn kind(&self, logical: &str) -> Option<&str> {
        let resources = self.root.get("Resources")?;
        let kind = |node: &'_ Node| node.get("Type").and_then(Node::as_str).is_some();
        if let Some(resource) = resources.get(logical) {
            return Some(
                resource
                    .get("Type")
                    .and_then(Node::as_str)
                    .unwrap_or_default(),
            );
        }
        let is_added = resources.members().iter().any(|(key, resource)| {
            let rest = key.as_str().and_then(|key| logical.strip_prefix(key));
            let is_of_sam =
                rest.is_some_and(|rest| ADDED_BY_SAM.iter().any(|added| rest.starts_with(added)));
            is_of_sam && kind(resource)
        });
        is_added.then_some("")
    }

    fn unknown(&self, name: &str, span: Span) -> Finding {
        let members = |section| self.root.get(section).map_or(&[][..], Node::members);
        let names = members("Parameters").iter().chain(members("Resources"));
        let names = names.filter_map(|(key, _)| key.as_str());
        let hint = match protime::nearest(name, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "declare it under `Parameters`".to_owned(),
        };
        Finding::mistake(
            span,
            format!("`{name}` is neither a parameter nor a resource; {hint}"),
        )
    }

    /// The branch of `Fn::If` that a deployment takes. If that is unknown, the first.
    fn chosen<'n>(&self, argument: &'n Node) -> Option<&'n Node> {
        let [condition, yes, no] = argument.items() else {
            return None;
        };
        let holds = condition.as_str().and_then(|name| self.condition(name));
        Some(if holds.unwrap_or(true) { yes } else { no })
    }

    /// Whether a condition holds. `None` if that is unknown.
    fn condition(&self, name: &str) -> Option<bool> {
        let node = self.root.at(&["Conditions", name])?;
        self.holds(node, MOST_CONDITIONS)
    }

    fn holds(&self, node: &Node, left: usize) -> Option<bool> {
        let left = left.checked_sub(1)?;
        let (name, argument) = match &node.content {
            Content::Function(name, argument) => (name.as_str(), &**argument),
            _ => ("Condition", node.get("Condition")?),
        };
        let mut all = argument.items().iter().map(|item| self.holds(item, left));
        match name {
            "Condition" => self.holds(self.root.at(&["Conditions", argument.as_str()?])?, left),
            "Not" => all.next()?.map(|holds| !holds),
            "And" => all.try_fold(true, |before, holds| Some(before && holds?)),
            "Or" => all.try_fold(false, |before, holds| Some(before || holds?)),
            "Equals" => {
                let [one, other] = argument.items() else {
                    return None;
                };
                // Unknown names are reported where they make texts.
                let one = self.text(one, &mut Vec::new())?;
                let other = self.text(other, &mut Vec::new())?;
                let is_placeholder = one.is_all_placeholder() || other.is_all_placeholder();
                (!is_placeholder).then(|| one.as_str() == other.as_str())
            }
            _ => None,
        }
    }

    fn found_in_map(&self, argument: &Node, findings: &mut Vec<Finding>) -> Option<&Node> {
        let mut node = self.root.get("Mappings")?;
        for key in argument.items().iter().take(3) {
            let key = self.text(key, findings)?;
            node = node.get(key.as_str())?;
        }
        Some(node)
    }
}

/// The default of a parameter. Without one, a plausible value that is marked as made up.
fn default(name: &str, declared: &Node, span: Span) -> Text {
    let kind = declared.get("Type").and_then(Node::as_str);
    let is_stored_elsewhere = kind.is_some_and(|kind| kind.starts_with("AWS::SSM::"));
    match declared.get("Default").and_then(Node::scalar) {
        Some(default) if !is_stored_elsewhere => default.clone(),
        _ => Text::at_span(plausible::parameter(name, declared), span).into_placeholder(),
    }
}
