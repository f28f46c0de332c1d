//! Benchmarks of the release binaries and their peers, as whole processes against the simulator and stubs of AWS.
//!
//! `make bench` builds everything, runs them and writes RESULTS.md. `make bench-short` only checks that they work.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and progress are printed"
)]

mod aws;
mod cost;
mod data;
mod fetch;
mod function;
mod machine;
mod memory;
mod process;
mod publish;
mod report;
mod runtime_api;
mod share;
mod size;
mod start;

use std::fmt::Write as _;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};

use report::Table;

/// Measures the functions beside their peers. `make bench` builds what it needs and writes tests/bench/RESULTS.md.
#[derive(Parser)]
struct Arguments {
    /// Use few records, each once, to check that everything works. Writes no file.
    #[arg(long)]
    short: bool,
    /// Run only these sections, to try a change. Writes no file.
    #[arg(long)]
    only: Vec<Section>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a command and prints its usage. The benchmark starts itself in this way.
    #[command(hide = true)]
    Measure {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    Fetch,
    Start,
    Fields,
    Growth,
    Latency,
    Memory,
    Publish,
    Size,
}

/// The amounts that are measured.
struct Scale {
    runs: usize,
    fetched: u64,
    grown: [u64; 3],
    latencies: [u64; 3],
    published: u64,
}

const FULL: Scale = Scale {
    runs: 5,
    fetched: 200_000,
    grown: [10_000, 100_000, 1_000_000],
    latencies: [0, 20, 100],
    published: 2_000,
};

const SHORT: Scale = Scale {
    runs: 1,
    fetched: 2_000,
    grown: [400, 800, 1_200],
    latencies: [0, 1, 2],
    published: 20,
};

/// Tells a waiting person what is measured now.
fn progress(what: &str) {
    eprintln!("{what}");
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Command::Measure { command }) = &arguments.command {
        return process::measure(command);
    }
    tokio::runtime::Runtime::new()?.block_on(benchmark(&arguments))
}

async fn benchmark(arguments: &Arguments) -> anyhow::Result<()> {
    let started = Instant::now();
    let scale = if arguments.short { SHORT } else { FULL };
    let wanted = |section| arguments.only.is_empty() || arguments.only.contains(&section);
    let mut targets = Vec::new();
    let mut tables: Vec<Table> = Vec::new();
    let (mut fetched, mut published) = (None, None);
    if wanted(Section::Fetch) {
        let (table, figures) = fetch::fetch(&scale, &mut targets).await?;
        tables.push(table);
        fetched = Some(figures);
    }
    if wanted(Section::Start) {
        tables.push(start::start(&scale, &mut targets).await?);
    }
    if wanted(Section::Fields) {
        tables.push(fetch::fields(&scale, &mut targets).await?);
    }
    if wanted(Section::Growth) {
        tables.push(fetch::growth(&scale, &mut targets).await?);
    }
    if wanted(Section::Latency) {
        tables.push(fetch::latency(&scale, &mut targets).await?);
    }
    if wanted(Section::Memory) {
        tables.push(memory::memory(&scale).await?);
    }
    if wanted(Section::Publish) {
        let (table, figures) = publish::publish(&scale, &mut targets).await?;
        tables.push(table);
        published = Some(figures);
    }
    // The short form builds no packages whose size could be measured.
    if wanted(Section::Size) && !arguments.short {
        tables.push(size::size(&mut targets)?);
    }
    if let (Some(fetched), Some(published)) = (&fetched, &published) {
        tables.push(cost::cost(fetched, published));
    }

    let mut report = String::new();
    if !arguments.short {
        let mut promised = Table::new(
            "Targets",
            "Ratios are between medians of this session; \"a / b\" is how many times as much (or as good) a is.",
            &["figure", "target", "measured", "reached"],
        );
        for target in &targets {
            promised.row(target.cells());
        }
        writeln!(report, "{promised}")?;
        for excuse in targets.iter().filter_map(report::Target::excuse) {
            writeln!(report, "{excuse}")?;
        }
    }
    for table in &tables {
        writeln!(report, "{table}")?;
    }
    println!("{report}");
    if arguments.only.is_empty() && !arguments.short {
        let head = machine::describe(scale.runs, started.elapsed()).await?;
        let path = function::root().join("tests/bench/RESULTS.md");
        std::fs::write(&path, format!("{head}\n{}\n", report.trim_end()))?;
        println!(
            "Written to tests/bench/RESULTS.md, after {} s.",
            started.elapsed().as_secs()
        );
    }
    Ok(())
}
