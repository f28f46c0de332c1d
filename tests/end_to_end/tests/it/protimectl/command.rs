//! The program, as people and scripts run it.

use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{Tenant, variable};
use serde_json::{Value, json};

/// The client secret and the access tokens of every simulator, which no output shows.
const CANARIES: [&str; 2] = ["simulator-client-secret", "simulated.access-token"];

/// Who runs it, where, and on which stack.
#[derive(Clone)]
pub(crate) struct Protimectl {
    stack: String,
    /// A file with AWS profiles, and the one of them that is used.
    profile: Option<(PathBuf, &'static str)>,
    folder: Option<PathBuf>,
}

/// What it printed, and its exit code.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Protimectl {
    /// On the deployed stack, by the account's own key.
    pub(crate) fn deployed() -> Self {
        Self::on(&variable("STACK_NAME"))
    }

    pub(crate) fn on(stack: &str) -> Self {
        Self {
            stack: stack.to_owned(),
            profile: None,
            folder: None,
        }
    }

    pub(crate) fn with_profile(self, file: &Path, name: &'static str) -> Self {
        Self {
            profile: Some((file.to_owned(), name)),
            ..self
        }
    }

    pub(crate) fn in_folder(self, folder: &Path) -> Self {
        Self {
            folder: Some(folder.to_owned()),
            ..self
        }
    }

    /// Nothing that it prints moves a cursor, since there is no terminal, or shows a secret.
    pub(crate) fn run(&self, arguments: &[&str]) -> Printed {
        let mut command = Command::new(program());
        command.env("PROTIME_STACK", &self.stack).args(arguments);
        if let Some((file, name)) = &self.profile {
            // Keys in the environment would go before the profile.
            command.env_remove("AWS_ACCESS_KEY_ID");
            command.env_remove("AWS_SECRET_ACCESS_KEY");
            command
                .env("AWS_CONFIG_FILE", file)
                .env("AWS_PROFILE", name);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let output = command.output().unwrap();
        let printed = Printed {
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap(),
        };
        for text in [&printed.stdout, &printed.stderr] {
            assert!(!text.contains('\u{1b}'), "{arguments:?}: {text:?}");
            for canary in CANARIES {
                assert!(
                    !text.contains(canary),
                    "{arguments:?} shows a secret: {text}"
                );
            }
        }
        printed
    }

    /// What it prints with `--json`, and its exit code.
    pub(crate) fn json(&self, arguments: &[&str]) -> (Value, i32) {
        let Printed {
            stdout,
            stderr,
            code,
        } = self.run(&[arguments, &["--json"]].concat());
        let document = serde_json::from_str(&stdout);
        let document: Value =
            document.unwrap_or_else(|_| panic!("{arguments:?}: {stdout}{stderr}"));
        assert_eq!(document["version"], 1);
        assert_eq!(document["exitCode"], code);
        (document, code)
    }

    /// The same of a command that succeeds.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> Value {
        let (document, code) = self.json(arguments);
        assert_eq!(code, 0, "{arguments:?}: {document:#}");
        document
    }
}

/// Where cargo puts what belongs to the same build.
pub(crate) fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().unwrap().parent().unwrap().join("protimectl");
    assert!(program.exists(), "run `cargo build -p protimectl`");
    program
}

/// A folder of files, which goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(tenant: &Tenant) -> Self {
        Self::named(&tenant.incoming())
    }

    pub(crate) fn named(name: &str) -> Self {
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The event of a tenant's connection, which reads people but for these fields.
pub(crate) fn connection(tenant: &Tenant, fields: &Value) -> Value {
    let mut event = json!({"incoming": tenant.incoming(), "client": tenant.client, "queue": tenant.pages, "entity": "people"});
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

/// Text with the parts that match these patterns replaced, one after the other.
pub(crate) fn masked(text: &str, masks: &[(&str, &str)]) -> String {
    masks.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        let pattern = regex_lite::Regex::new(pattern).unwrap();
        pattern.replace_all(&text, *mask).into_owned()
    })
}
