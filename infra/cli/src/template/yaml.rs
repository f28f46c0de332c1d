//! Parses YAML or JSON with the functions of `CloudFormation`. Each node has its place.

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, ScanError, YamlData};

use super::scalar;
use super::text::{Span, Text};

/// The key whose value supplies members that the mapping itself lacks.
const MERGE: &str = "<<";

#[derive(Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    /// A string, number or boolean, as it was written. Empty for null.
    Scalar(Text),
    Sequence(Vec<Node>),
    /// In the order of the file.
    Mapping(Vec<(Node, Node)>),
    /// The name as in the short form (`Ref`, `Sub`, `GetAtt`), and the argument.
    Function(String, Box<Node>),
}

impl Node {
    /// The text, if the node is a scalar.
    pub(super) fn scalar(&self) -> Option<&Text> {
        match &self.content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The text as a string, if the node is a scalar.
    pub(super) fn as_str(&self) -> Option<&str> {
        self.scalar().map(Text::as_str)
    }

    /// The members of a mapping. Empty for other nodes.
    pub(super) fn members(&self) -> &[(Self, Self)] {
        match &self.content {
            Content::Mapping(members) => members,
            _ => &[],
        }
    }

    /// The items of a sequence. Empty for other nodes.
    pub(super) fn items(&self) -> &[Self] {
        match &self.content {
            Content::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Finds a member of a mapping, or of one that is merged into it.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let named = |wanted: &str| {
            let mut members = self.members().iter();
            members.find(|(key, _)| key.as_str() == Some(wanted))
        };
        if let Some((_, value)) = named(name) {
            return Some(value);
        }
        let (_, merged) = named(MERGE)?;
        match merged.items() {
            [] => merged.get(name),
            all => all.iter().find_map(|one| one.get(name)),
        }
    }

    /// Finds a member by its path.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The names in `!Ref`, `!GetAtt` and `!Sub`, anywhere in the node.
    pub(super) fn references(&self) -> Vec<&str> {
        match &self.content {
            Content::Scalar(_) => Vec::new(),
            Content::Sequence(items) => items.iter().flat_map(Self::references).collect(),
            Content::Mapping(members) => members
                .iter()
                .flat_map(|(_, value)| value.references())
                .collect(),
            Content::Function(name, argument) => {
                let mut found = argument.references();
                let first = argument.items().first().and_then(Self::as_str);
                let text = argument.as_str().or(first).unwrap_or_default();
                match name.as_str() {
                    "Ref" => found.push(text),
                    "GetAtt" => found.extend(text.split('.').next()),
                    "Sub" => found.extend(
                        text.split("${")
                            .skip(1)
                            .filter_map(|rest| rest.split(['}', '.']).next()),
                    ),
                    _ => {}
                }
                found
            }
        }
    }
}

/// The first document of a file. `None` if the file is empty.
pub(super) fn parse(source: &str, file: usize) -> Result<Option<Node>, (String, Span)> {
    let reader = Reader::new(source, file);
    let documents = MarkedYaml::load_from_str(source).map_err(|error| reader.wrong(&error))?;
    Ok(documents.first().map(|document| reader.node(document)))
}

struct Reader<'a> {
    source: &'a str,
    file: usize,
    /// The byte offset of each character and of the end. The parser counts in characters.
    offsets: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, file: usize) -> Self {
        let offsets = source.char_indices().map(|(offset, _)| offset);
        Self {
            source,
            file,
            offsets: offsets.chain([source.len()]).collect(),
        }
    }

    fn offset(&self, character: usize) -> usize {
        let known = self.offsets.get(character);
        known.copied().unwrap_or(self.source.len())
    }

    fn wrong(&self, error: &ScanError) -> (String, Span) {
        let start = self.offset(error.marker().index());
        let span = Span {
            file: self.file,
            start,
            end: start + 1,
        };
        (format!("YAML: {}", error.info()), span)
    }

    fn node(&self, yaml: &MarkedYaml<'_>) -> Node {
        let span = Span {
            file: self.file,
            start: self.offset(yaml.span.start.index()),
            end: self.offset(yaml.span.end.index()),
        };
        let content = match &yaml.data {
            YamlData::Value(value) => self.scalar(value, span),
            YamlData::Representation(text, ..) => Content::Scalar(self.text(text, span)),
            YamlData::Sequence(items) => {
                Content::Sequence(items.iter().map(|item| self.node(item)).collect())
            }
            YamlData::Mapping(members) => {
                let members = members
                    .iter()
                    .map(|(key, value)| (self.node(key), self.node(value)));
                mapping(members.collect())
            }
            YamlData::Tagged(tag, inner) => {
                // A tagged node has the place of its tag.
                let inner = self.content_of(inner, span);
                Content::Function(tag.suffix.clone(), Box::new(inner))
            }
            YamlData::Alias(_) | YamlData::BadValue => Content::Scalar(Text::default()),
        };
        Node { span, content }
    }

    /// A tagged scalar has no span of its own.
    fn content_of(&self, yaml: &MarkedYaml<'_>, span: Span) -> Node {
        match &yaml.data {
            YamlData::Value(value) => Node {
                span,
                content: self.scalar(value, span),
            },
            _ => self.node(yaml),
        }
    }

    fn scalar(&self, value: &Scalar<'_>, span: Span) -> Content {
        let written = || self.source.get(span.start..span.end).unwrap_or_default();
        Content::Scalar(match value {
            Scalar::Null => Text::at_span("", span),
            Scalar::String(text) => self.text(text, span),
            // Kept as it is written: 0755 is not 493.
            _ => self.text(written().trim_end(), span),
        })
    }

    fn text(&self, value: &str, span: Span) -> Text {
        match scalar::offsets(self.source, span.start, value) {
            Some(offsets) => Text::written(value.to_owned(), self.file, &offsets),
            None => Text::at_span(value, span),
        }
    }
}

/// The long form of a function is a mapping with one member only.
fn mapping(mut members: Vec<(Node, Node)>) -> Content {
    let name = match members.as_slice() {
        [(key, _)] => key.as_str().unwrap_or_default(),
        _ => "",
    };
    let short = if name == "Ref" {
        Some(name)
    } else {
        name.strip_prefix("Fn::")
    };
    let short = short.map(str::to_owned);
    match (short, members.pop()) {
        (Some(name), Some((_, argument))) => Content::Function(name, Box::new(argument)),
        (None, Some(last)) => {
            members.push(last);
            Content::Mapping(members)
        }
        (_, None) => Content::Mapping(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source text at the place of a part of a scalar.
    fn written(source: &str, path: &[&str], part: &str) -> String {
        let root = parse(source, 0).unwrap().unwrap();
        let mut node = root.at(path).unwrap();
        while let Content::Function(_, argument) = &node.content {
            node = argument;
        }
        let text = node.scalar().unwrap();
        let at = text.as_str().find(part).unwrap();
        let span = text.span(at..at + part.len()).unwrap();
        source[span.start..span.end].to_owned()
    }

    #[test]
    fn scalars_know_their_places() {
        let source = "# é\na:\n  b: !Sub |\n    {\n      \"x\": 1\n    }\n  c: !Ref Name\n  d: 'it''s'\n  e: 0755\n  f:\n    Fn::Sub: \"a ${B}\"\n  g: |-\n    one\n    two\n";
        for (name, part) in [
            ("b", "\"x\": 1"),
            ("c", "Name"),
            ("d", "it"),
            ("e", "0755"),
            ("f", "${B}"),
            ("g", "two"),
        ] {
            assert_eq!(written(source, &["a", name], part), part);
        }
        let root = parse(source, 0).unwrap().unwrap();
        assert_eq!(root.references(), ["Name", "B"]);
    }

    #[test]
    fn merged_members_are_found() {
        let source = "base: &base {x: 1}\na:\n  <<: *base\n  y: 2\n";
        let root = parse(source, 0).unwrap().unwrap();
        assert_eq!(root.at(&["a", "x"]).and_then(Node::as_str), Some("1"));
    }
}
