//! Checks the example of a further outgoing connection in functions/publisher/README.md inside the stack, as
//! `CloudFormation` gets it. The nested template gets every value that it shares with the stack. cfn-lint checks in
//! `make check` that these values exist.

use template::Template;

/// The parameters of the nested stack that only the user knows.
const OF_ITS_OWN: [&str; 3] = ["Outgoing", "Fifo", "ResultsQueue"];

#[test]
#[ignore = "reads the translated templates: run `make test`"]
fn the_example_passes_every_parameter_that_the_stack_knows() {
    let stack = Template::translated("nested");
    let mut nested = stack.resources("AWS::CloudFormation::Stack");
    let (_, properties) = nested.find(|(name, _)| *name == "Badges").unwrap();
    let passed = properties["Parameters"].as_object().unwrap();
    let outgoing = Template::load_from("infra/outgoing.yaml");
    let parameters = outgoing.0["Parameters"].as_object().unwrap();
    for name in passed.keys() {
        assert!(parameters.contains_key(name), "{name}");
    }
    for name in parameters.keys().map(String::as_str) {
        let known = passed.contains_key(name);
        assert!(known || OF_ITS_OWN.contains(&name), "{name}");
    }
}

#[test]
fn the_output_that_the_example_names_exists() {
    let outgoing = Template::load_from("infra/outgoing.yaml");
    let readme = template::root().join("functions/publisher/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let output = readme.split("Badges.Outputs.").nth(1).unwrap();
    let output = output.split('`').next().unwrap();
    assert!(!outgoing.0["Outputs"][output].is_null(), "{output}");
}
