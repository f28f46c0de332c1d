//! Checks the documents: their links, the length of README.md, and a table row for every field.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use template::root;

/// A newcomer reads this many words in ten minutes.
const MOST_WORDS: usize = 1_200;

/// Finds every `*.md` file of the repository.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().canonicalize().unwrap()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            // Tools and cargo's builds contain documents of their own.
            if name.starts_with('.') || name == "target" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// The lines outside code blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line);
        }
    }
    lines
}

/// The link targets between `](` and `)`, outside backquotes.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let line: String = line.split('`').step_by(2).collect();
        let after = line.split("](").skip(1);
        links.extend(after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    links
}

/// The anchors that GitHub makes from the headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(text) {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let heading = heading.trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        let anchor: String = kept.collect::<String>().replace(' ', "-");
        assert!(
            anchors.insert(anchor),
            "the heading `{heading}` comes twice"
        );
    }
    anchors
}

/// The problem with a link. `None` if it leads somewhere.
fn problem(document: &Path, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match path {
        "" => document.to_owned(),
        path => document.parent().unwrap().join(path),
    };
    if !target.exists() {
        return Some("there is no such file".to_owned());
    }
    if anchor.is_empty() {
        return None;
    }
    let anchors = anchors(&fs::read_to_string(target).unwrap());
    (!anchors.contains(anchor)).then(|| format!("there is no such heading; there are {anchors:?}"))
}

#[test]
fn every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let mut seen = 0;
    for document in documents() {
        for link in links(&fs::read_to_string(&document).unwrap()) {
            seen += 1;
            let problem = problem(&document, &link);
            assert_eq!(problem, None, "{}: {link}", document.display());
        }
    }
    assert!(seen > 50, "{seen} links");
}

#[test]
fn readme_is_read_in_ten_minutes() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let words = readme.split_whitespace().count();
    assert!(words < MOST_WORDS, "README.md has {words} words");
}

/// A row of a table starts with the field's name.
#[test]
fn every_field_has_a_row_in_its_document() {
    for (schema, document) in [
        ("incoming-connection", "functions/subscriber/README.md"),
        ("publish-request", "functions/publisher/README.md"),
    ] {
        let schema = root().join(format!("infra/schemas/{schema}.schema.json"));
        let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
        let text = fs::read_to_string(root().join(document)).unwrap();
        for field in schema["properties"].as_object().unwrap().keys() {
            let row = format!("\n| `{field}` | ");
            assert!(text.contains(&row), "{document} has no row for `{field}`");
        }
    }
}
