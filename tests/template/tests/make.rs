//! Checks the Makefile's commands, as far as they run without an AWS account.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use template::root;

/// Apple ships GNU make 3.81 of 2006. That version silently misreads later syntax.
#[test]
fn the_makefile_has_nothing_that_make_3_81_lacks() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for later in [
        ".ONESHELL",
        ".SHELLFLAGS",
        ".RECIPEPREFIX",
        "!=",
        "::=",
        "undefine",
        "$(file",
        "$(guile",
        "load ",
        "private ",
        "&:",
    ] {
        assert!(!makefile.contains(later), "{later}");
    }
    let recipes = makefile.lines().filter(|line| line.starts_with('\t'));
    for recipe in recipes {
        // Each line of a recipe runs in its own shell, which does not know the line before.
        assert_eq!(recipe, "\t@bash infra/tasks.sh $@");
    }
}

#[test]
fn help_names_commands_that_there_are() {
    let help = Command::new("make")
        .arg("help")
        .current_dir(root())
        .output()
        .unwrap();
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    let named: BTreeSet<&str> = help
        .lines()
        .filter_map(|line| line.strip_prefix("make ")?.split(' ').next())
        .collect();
    assert!(named.len() >= 5, "{help}");
    for command in named {
        let dry_run = Command::new("make")
            .args(["-n", command])
            .current_dir(root())
            .output();
        assert!(dry_run.unwrap().status.success(), "{command}");
        let tasks = fs::read_to_string(root().join("infra/tasks.sh")).unwrap();
        let function = format!("\n{}() {{\n", command.replace('-', "_"));
        assert!(tasks.contains(&function), "{command}");
    }
}

/// A folder with the files that `make deploy` reads, and a `sam` that only records its calls.
struct Deployment(PathBuf);

impl Deployment {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("deploy-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("infra")).unwrap();
        for file in ["template.yaml", "infra/deploy.py", "infra/local_stack.py"] {
            fs::copy(root().join(file), directory.join(file)).unwrap();
        }
        let sam = directory.join("sam");
        fs::write(&sam, "#!/bin/sh\necho \"$@\" >>\"$CALLS\"\n").unwrap();
        fs::set_permissions(&sam, fs::Permissions::from_mode(0o755)).unwrap();
        Self(directory)
    }

    /// Answers the questions of `make deploy`. Returns its output and the calls of `sam`.
    fn answer(&self, answers: &str) -> (String, Vec<String>) {
        let python = root().join(".tools/build/bin/python");
        assert!(
            Path::new(&python).exists(),
            "`make check` installs the tools that this test needs"
        );
        let calls = self.0.join("calls");
        fs::write(&calls, "").unwrap();
        let path = format!("{}:{}", self.0.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new(python)
            .arg(self.0.join("infra/deploy.py"))
            .env("PATH", path)
            .env("CALLS", &calls)
            .env("AWS_REGION", "eu-central-1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(answers.as_bytes())
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        let printed = [ended.stdout, ended.stderr].concat();
        let calls = fs::read_to_string(calls).unwrap();
        (
            String::from_utf8(printed).unwrap(),
            calls.lines().map(str::to_owned).collect(),
        )
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_answers_decide_what_is_built_and_are_remembered() {
    let deployment = Deployment::new("answers");
    let template = fs::read_to_string(root().join("template.yaml")).unwrap();
    let parameters = template
        .split("\nConditions:")
        .next()
        .unwrap()
        .matches("    Type: ")
        .count();
    let before = template
        .split("  Architecture:")
        .next()
        .unwrap()
        .matches("    Type: ")
        .count();
    // Accepts the defaults of the stack's name and of the parameters before the architecture.
    let defaults = "\n".repeat(1 + before);
    let rest = "\n".repeat(parameters - before - 1);
    let (printed, calls) = deployment.answer(&format!("{defaults}sparc\nx86_64\n{rest}"));
    assert!(
        printed.contains("'sparc' cannot be used: one of arm64, x86_64 is needed"),
        "{printed}"
    );
    let [build, deploy] = calls.as_slice() else {
        panic!("{calls:?}: {printed}")
    };
    assert!(
        build.starts_with("build ") && deploy.starts_with("deploy "),
        "{calls:?}"
    );
    for call in [build, deploy] {
        assert!(call.contains("Architecture=\"x86_64\""), "{call}");
    }
    assert!(deploy.contains("--region eu-central-1"), "{deploy}");
    let (_, calls) = deployment.answer(&"\n".repeat(1 + parameters));
    assert!(calls[0].contains("Architecture=\"x86_64\""), "{calls:?}");
    let (printed, calls) = deployment.answer("other\n");
    assert!(
        calls.is_empty() && printed.contains("Nothing was built or deployed"),
        "{printed}"
    );
}

/// The region that the tools find for these variables and this configuration, or why they find none.
fn region(set: &[(&str, &str)], config: &str) -> Result<String, String> {
    let tools = root().join(".tools/build/bin");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let config_file =
        std::env::temp_dir().join(format!("aws-{}-{}", std::process::id(), config.len()));
    fs::write(&config_file, config).unwrap();
    let asked = Command::new("bash")
        .args([
            "-c",
            ". infra/tasks.sh use_region; echo $AWS_REGION $AWS_DEFAULT_REGION",
        ])
        .current_dir(root())
        .env("PATH", path)
        .env("AWS_CONFIG_FILE", &config_file)
        .env_remove("AWS_REGION")
        .env_remove("AWS_DEFAULT_REGION")
        .env_remove("AWS_PROFILE")
        .envs(set.iter().copied())
        .output();
    fs::remove_file(config_file).unwrap();
    let asked = asked.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    if asked.status.success() {
        Ok(text(asked.stdout))
    } else {
        Err(text(asked.stderr))
    }
}

#[test]
fn one_region_is_enough_wherever_it_is_set() {
    let both = Ok("eu-central-1 eu-central-1".to_owned());
    assert_eq!(region(&[("AWS_REGION", "eu-central-1")], ""), both);
    assert_eq!(region(&[("AWS_DEFAULT_REGION", "eu-central-1")], ""), both);
    assert_eq!(region(&[], "[default]\nregion = eu-central-1\n"), both);
    // The SDKs that read both variables use this order.
    let two = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ];
    assert_eq!(region(&two, ""), both);
    let none = region(&[], "[default]\n").unwrap_err();
    assert!(
        none.contains("Set AWS_REGION, for example to eu-west-1"),
        "{none}"
    );
}
