//! Describes the machine and the versions with which the figures were measured.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tokio::process::Command;

use crate::function::root;

const PYTHON_PACKAGES: [&str; 5] = ["httpx", "boto3", "awslambdaric", "dlt", "airbyte-cdk"];

/// The first section of the results.
pub(crate) async fn describe(runs: usize, took: Duration) -> anyhow::Result<String> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let memory: u64 = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or_default();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let pinned = std::fs::read_to_string(root().join("infra/tools/peers.txt"))?;
    let versions: Vec<String> = pinned
        .lines()
        .filter_map(|line| line.split_once("=="))
        .filter(|(name, _)| PYTHON_PACKAGES.contains(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    Ok(format!(
        "# Results\n\nWritten by `make bench`; medians of {runs} runs (or more, where it says so), {} minutes in all. The README\n\
         says what is measured.\n\n\
         - {}, commit {}\n- {model}, {} processors, {} GiB, Linux {}\n- {}; {}; {}\n",
        took.as_secs().div_ceil(60),
        Timestamp::now().strftime("%Y-%m-%d"),
        said("git", &["describe", "--always", "--dirty"])
            .await
            .unwrap_or_else(|_| "unknown".to_owned()),
        std::thread::available_parallelism()?,
        memory.div_ceil(1024 * 1024),
        kernel.trim(),
        said("rustc", &["--version"]).await?,
        said(&crate::function::python(), &["--version"]).await?,
        versions.join(", "),
    ))
}

async fn said(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .await?;
    anyhow::ensure!(output.status.success(), "{program} failed");
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().context("no output")?.to_owned())
}
