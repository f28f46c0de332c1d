//! Measures the packages that are deployed.

use anyhow::Context;

use crate::fetch::count;
use crate::function::root;
use crate::report::{Promise, Table, Target};

pub(crate) fn size(targets: &mut Vec<Target>) -> anyhow::Result<Table> {
    let mut table = Table::new(
        "Size",
        "Zipped, as deployed.",
        &["function", "arm64", "x86_64"],
    );
    let mut largest = 0.0_f64;
    for function in ["subscriber", "publisher"] {
        let mut cells = vec![function.to_owned()];
        for architecture in ["arm64", "x86_64"] {
            let path = root().join(format!(
                "target/packages/{architecture}/{function}/bootstrap.zip"
            ));
            let file = std::fs::metadata(&path).with_context(|| {
                format!("{}: not there; `make bench` packages it", path.display())
            })?;
            let megabytes = count(file.len()) / 1e6;
            largest = largest.max(megabytes);
            cells.push(format!("{megabytes:.2} MB"));
        }
        table.row(cells);
    }
    targets.push(Target::new(
        "zipped package, the largest",
        Promise::Under(5.0, "MB"),
        largest,
    ));
    Ok(table)
}
