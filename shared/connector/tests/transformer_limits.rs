//! A program that would kill a process kills only the worker process.
//!
//! This test has its own `main`, as a function has: the worker process is this executable, started again.

use connector::transformer::{RunError, Transformer, serve_if_worker};

fn main() {
    serve_if_worker();
    // Test runners first ask for a list of tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let works = || {
        let plain = Transformer::outgoing("{payload: .}").unwrap();
        assert_eq!(plain.run_outgoing("1.10").unwrap(), [r#"{"payload":1.10}"#]);
    };
    works();
    for program in [
        "def f: [f]; f",
        "def f: f | f; f",
        "def f: 1 + f; f",
        "last(range(1e9))",
        "[range(1e9)]",
        "until(false; .)",
        "reduce range(1e7) as $i (null; [.])",
        "\"x\" * 1000000000",
        "\"x\" * 5000000",
        "input",
    ] {
        let outcome = Transformer::outgoing(program).map(|compiled| compiled.run_outgoing("1"));
        let is_limit = matches!(outcome, Ok(Err(RunError::Limit(_))));
        let is_refused = matches!(outcome, Ok(Err(RunError::Program { .. })) | Err(_));
        let may_be_refused = program == "input";
        assert!(
            is_limit || is_refused && may_be_refused,
            "{program}: {outcome:?}"
        );
        works();
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Transformer::outgoing(&deep).is_err());
    works();
    assert!(
        Transformer::outgoing(".")
            .unwrap()
            .run_outgoing(&deep)
            .is_err()
    );
    works();
    // The function's environment and time are out of reach.
    let environment = Transformer::outgoing("env | length")
        .unwrap_or_else(|_| Transformer::outgoing("0").unwrap());
    assert_eq!(environment.run_outgoing("1").unwrap(), ["0"]);
    println!("transformer limits: ok");
}
