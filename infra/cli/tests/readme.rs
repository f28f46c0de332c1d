//! The README describes the commands and exit codes that `protimectl --help` lists.

use std::process::Command;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn help() -> String {
    let mut protimectl = Command::new(env!("CARGO_BIN_EXE_protimectl"));
    let output = protimectl.arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_command_has_a_row_in_the_readme() {
    let readme = std::fs::read_to_string(README).unwrap();
    let table = readme.split("## Commands").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let help = help();
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    // The second line of a long description is indented further.
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 15, "{help}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let is_told = [format!("`{name} "), format!("`{name}`")];
        let rows = table.lines().filter(|line| line.starts_with("| `"));
        let mut firsts = rows.filter_map(|row| row.split(" | ").next());
        assert!(
            firsts.any(|first| is_told.iter().any(|told| first.contains(told))),
            "infra/cli/README.md has no row for {name}"
        );
    }
}

#[test]
fn every_exit_code_has_a_row_in_the_readme() {
    let readme = std::fs::read_to_string(README).unwrap();
    let help = help().split_whitespace().collect::<Vec<_>>().join(" ");
    let codes = help.split("Exit codes: ").nth(1).unwrap();
    let codes: Vec<&str> = codes.split(", ").collect();
    assert!(codes.len() > 10, "{codes:?}");
    for code in codes {
        let (number, meaning) = code.trim().split_once(' ').unwrap();
        let row = format!("| {number} | {meaning} |");
        assert!(
            readme.contains(&row),
            "infra/cli/README.md has no row `{row}`"
        );
    }
}
