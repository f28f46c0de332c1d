//! Checks that every list of the functions names all of `functions/`.

use std::fs;

use template::root;

fn functions() -> Vec<String> {
    let folder = fs::read_dir(root().join("functions")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    assert!(names.len() >= 2, "{names:?}");
    names
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn every_function_is_in_the_lists_of_functions() {
    for path in [
        "infra/release.py",
        "infra/watch.py",
        "shared/connector/src/telemetry.rs",
    ] {
        let text = read(path);
        for name in functions() {
            assert!(text.contains(&format!("\"{name}\"")), "{path}: {name}");
        }
    }
}

#[test]
fn every_function_is_in_the_documents() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = read(document);
        for name in functions() {
            let link = format!("](functions/{name}/");
            assert!(text.contains(&link), "{document}: {link}");
        }
    }
    for name in functions() {
        read(&format!("functions/{name}/README.md"));
    }
}
