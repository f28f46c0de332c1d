//! Inserts a resource into a template and leaves every other byte as it is.

use super::yaml::{self, Content, Node};

/// The reason why a resource cannot be inserted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InsertError {
    #[error("not a template: {0}")]
    NotATemplate(String),
    #[error("has a resource `{name}` already, in line {line}")]
    Taken { name: String, line: usize },
    #[error("its `Resources` are written in braces; write a resource below the other, indented")]
    Braces,
    #[error(
        "has {MOST_RESOURCES} resources already, the most that CloudFormation takes; name another file with --file, and nest that one in template.yaml as well"
    )]
    Full,
}

/// The most resources of a template (user guide of `CloudFormation`, "Quotas").
const MOST_RESOURCES: usize = 500;

/// The template with the resource after all others. `body` is its YAML without indentation.
pub(crate) fn insert(template: &str, name: &str, body: &str) -> Result<String, InsertError> {
    // The parser does not count a byte order mark.
    let text = template.trim_start_matches('\u{feff}');
    let mark = &template[..template.len() - text.len()];
    let root = parse(text)?;
    let (key, resources) = section(&root)?;
    let members = resources.members();
    if let Some((taken, _)) = members.iter().find(|(key, _)| key.as_str() == Some(name)) {
        let line = text[..taken.span.start].matches('\n').count() + 1;
        let name = name.to_owned();
        return Err(InsertError::Taken { name, line });
    }
    if members.len() >= MOST_RESOURCES {
        return Err(InsertError::Full);
    }
    let (mut inserted, indent, rest) = if let Some((first, _)) = members.first() {
        let end = end_of_section(text, &root, key);
        let indent = indentation(text, first)?;
        (text[..end].to_owned(), indent, &text[end..])
    } else {
        let end = next_line(text, key.span.end);
        let key = without_braces(&text[..end], key.span.end);
        (key, "  ", &text[end..])
    };
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    if !inserted.ends_with('\n') {
        inserted.push_str(newline);
    }
    if !members.is_empty() {
        inserted.push_str(newline);
    }
    for line in body.lines() {
        inserted.extend([indent, line, newline]);
    }
    inserted.push_str(rest);
    match section(&parse(&inserted)?)?.1.members().last() {
        Some((last, _)) if last.as_str() == Some(name) => Ok(format!("{mark}{inserted}")),
        _ => Err(InsertError::NotATemplate(
            "it does not end where its last resource does".to_owned(),
        )),
    }
}

fn parse(text: &str) -> Result<Node, InsertError> {
    let root = yaml::parse(text, 0).map_err(|(problem, _)| InsertError::NotATemplate(problem))?;
    root.ok_or_else(|| InsertError::NotATemplate("it is empty".to_owned()))
}

/// The key `Resources` and its value.
fn section(root: &Node) -> Result<(&Node, &Node), InsertError> {
    let mut members = root.members().iter();
    let found = members.find(|(key, _)| key.as_str() == Some("Resources"));
    let none = || InsertError::NotATemplate("there are no `Resources`".to_owned());
    let (key, resources) = found.ok_or_else(none)?;
    let is_empty = resources.as_str().is_some_and(str::is_empty);
    match resources.content {
        Content::Mapping(_) => Ok((key, resources)),
        Content::Scalar(_) if is_empty => Ok((key, resources)),
        _ => Err(none()),
    }
}

/// The end of a section's last line. What follows are empty lines, and comments of the next section.
fn end_of_section(text: &str, root: &Node, key: &Node) -> usize {
    let keys = root.members().iter().map(|(key, _)| key.span.start);
    let next = keys.filter(|start| *start > key.span.start).min();
    let start = next_line(text, key.span.end);
    let mut last = start;
    let mut at = start;
    for line in text[start..next.unwrap_or(text.len())].split_inclusive('\n') {
        at += line.len();
        if !line.trim().is_empty() && !line.starts_with('#') {
            last = at;
        }
    }
    last
}

fn next_line(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n');
    end.map_or(text.len(), |end| at + end + 1)
}

/// The indentation of a resource.
fn indentation<'t>(text: &'t str, resource: &Node) -> Result<&'t str, InsertError> {
    let before = &text[..resource.span.start];
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    let indent = &before[line..];
    let is_block = !indent.is_empty() && indent.chars().all(|c| c == ' ');
    if is_block {
        Ok(indent)
    } else {
        Err(InsertError::Braces)
    }
}

/// Replaces `Resources: {}` by the key without braces.
fn without_braces(text: &str, key_end: usize) -> String {
    let (before, value) = text.split_at(key_end);
    format!("{before}{}", value.replacen(" {}", "", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = "New:\n  Type: X\n  Text: |\n    a\n";

    #[test]
    fn a_resource_is_put_behind_the_others_and_nothing_else_changes() {
        let new = "  New:\n    Type: X\n    Text: |\n      a\n";
        for (before, after, what) in [
            (
                "Resources:\n  A:\n    Type: X\n",
                "",
                "at the end of the file",
            ),
            (
                "Resources:\n  A: {Type: X}\n  # of mine\n",
                "",
                "behind a comment that is indented",
            ),
            (
                "# é\nResources:\n  A:\n    Type: X\n",
                "\n# The end\n",
                "before a comment at the end",
            ),
            (
                "Resources:\n  A:\n    Type: X\n",
                "\n# What is told\nOutputs:\n  B: {Value: 1}\n",
                "before another section and its comment",
            ),
            (
                "Resources:\n  A:\n    Type: X\n",
                "Outputs:\n  B: {Value: 1}\n",
                "before another section",
            ),
            (
                "Resources:\n  A:\n    Text: |\n      # no comment\n\n      Outputs:\n",
                "\n\nOutputs:\n  B: {Value: 1}\n",
                "behind a block of text",
            ),
            (
                "Resources:\n  A:\n    Type: X\n# between\n  B: !Sub x\n",
                "",
                "behind a comment that is not indented",
            ),
            (
                "\u{feff}Resources:\n  \"A\":\n    Type: X\n",
                "",
                "behind a byte order mark",
            ),
        ] {
            let inserted = insert(&format!("{before}{after}"), "New", BODY).unwrap();
            assert_eq!(inserted, format!("{before}\n{new}{after}"), "{what}");
        }
    }

    #[test]
    fn the_file_keeps_its_indentation_and_its_line_ends() {
        for (before, after) in [
            (
                "Resources:\n    A:\n        Type: X\n",
                "Resources:\n    A:\n        Type: X\n\n    New:\n      Type: X\n      Text: |\n        a\n",
            ),
            (
                "Resources:\r\n  A:\r\n    Type: X\r\n\r\nOutputs: {}\r\n",
                "Resources:\r\n  A:\r\n    Type: X\r\n\r\n  New:\r\n    Type: X\r\n    Text: |\r\n      a\r\n\r\nOutputs: {}\r\n",
            ),
            (
                "Resources:\n  A:\n    Type: X",
                "Resources:\n  A:\n    Type: X\n\n  New:\n    Type: X\n    Text: |\n      a\n",
            ),
        ] {
            assert_eq!(insert(before, "New", BODY).unwrap(), after);
        }
    }

    #[test]
    fn empty_resources_are_filled() {
        let new = "  New:\n    Type: X\n    Text: |\n      a\n";
        for (before, after) in [
            (
                "Resources: {}\nOutputs: {}\n",
                format!("Resources:\n{new}Outputs: {{}}\n"),
            ),
            (
                "Resources: {} # none\n",
                format!("Resources: # none\n{new}"),
            ),
            (
                "Resources:\n\n# The end\n",
                format!("Resources:\n{new}\n# The end\n"),
            ),
            ("Resources:", format!("Resources:\n{new}")),
        ] {
            assert_eq!(insert(before, "New", BODY).unwrap(), after);
        }
    }

    #[test]
    fn a_template_takes_500_resources() {
        let resources = |count: usize| {
            let resources = (0..count).map(|number| format!("  A{number}: {{Type: X}}\n"));
            format!("Resources:\n{}", resources.collect::<String>())
        };
        assert!(insert(&resources(499), "New", BODY).is_ok());
        assert_eq!(insert(&resources(500), "New", BODY), Err(InsertError::Full));
    }

    #[test]
    fn what_cannot_be_extended_is_refused() {
        let taken = InsertError::Taken {
            name: "New".to_owned(),
            line: 3,
        };
        assert_eq!(
            insert("# one\nResources:\n  New: {}\n", "New", BODY),
            Err(taken)
        );
        for braces in [
            "Resources: {A: {Type: X}}\n",
            "{\"Resources\": {\"A\": {}}}\n",
        ] {
            assert_eq!(
                insert(braces, "New", BODY),
                Err(InsertError::Braces),
                "{braces}"
            );
        }
        for other in [
            "",
            "Outputs: {}\n",
            "Resources: [A]\n",
            "Resources: A\n",
            "Resources:\n  A: {}\n...\n",
            "a: b: c\n",
        ] {
            let refused = insert(other, "New", BODY);
            assert!(
                matches!(refused, Err(InsertError::NotATemplate(_))),
                "{other}: {refused:?}"
            );
        }
    }
}
