//! README's example of a further outgoing connection gives the nested template all that it shares with the stack.

use std::collections::BTreeSet;

use template::{Template, root};

/// The nested stack's parameters that only the user knows.
const OF_ITS_OWN: [&str; 3] = ["Outgoing", "Fifo", "ResultsQueue"];

#[test]
fn readmes_example_passes_every_parameter_that_the_stack_knows() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let example = readme
        .split("Location: infra/outgoing.yaml")
        .nth(1)
        .unwrap();
    let example = example.split("```").next().unwrap();
    let passed: BTreeSet<&str> = example
        .lines()
        .filter_map(|line| line.strip_prefix("        ")?.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    let nested = Template::load_from("infra/outgoing.yaml");
    let parameters = nested.0["Parameters"].as_object().unwrap();
    for name in &passed {
        assert!(parameters.contains_key(*name), "{name}");
    }
    for name in parameters.keys().map(String::as_str) {
        assert!(
            passed.contains(name) || OF_ITS_OWN.contains(&name),
            "{name}"
        );
    }
    let stack = Template::load();
    let known = |name: &str| {
        ["Parameters", "Conditions", "Resources"]
            .iter()
            .any(|part| !stack.0[part][name].is_null())
    };
    let mut references = 0;
    for reference in example
        .split("!Ref ")
        .skip(1)
        .chain(example.split("!If [").skip(1))
    {
        let name = reference.split([',', '\n', ']', ' ']).next().unwrap();
        references += 1;
        assert!(known(name) || name.starts_with("AWS::"), "{name}");
    }
    assert!(references > 5);
}
