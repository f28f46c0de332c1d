//! Where the tables come from.

use std::fs;
use std::path::Path;

/// Beside the project where it is developed; a clone alone does not have it.
fn shared(file: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    fs::read_to_string(path.join(file)).ok()
}

#[test]
fn the_table_is_that_of_the_documentation() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/documentation.json");
    if let Some(documented) = shared("protime-catalogue.json") {
        assert!(fs::read_to_string(own).unwrap() == documented);
    }
}
