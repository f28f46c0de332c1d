//! The simulator as a program.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, ensure};
use clap::Parser;
use jiff::Timestamp;
use simulator::{Options, Settings, Simulator};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// A Protime API to develop against, with data of its own making.
///
/// When it is ready it prints one line: the secret of an HTTP client, as the connector expects it in Secrets
/// Manager. It stops on Ctrl-C. The requests that it got are at /_simulator/requests. Everything can be changed
/// while it runs, see /_simulator/settings.
#[derive(Parser)]
#[command(name = "simulator", version)]
struct Arguments {
    /// Where to listen, on this machine only; port 0 picks a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The number of people
    #[arg(long, default_value_t = 200)]
    people: u32,
    /// The number of days, up to today, for which people have records
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// The number of records in a page
    #[arg(long, default_value_t = 500)]
    page_size: usize,
    /// The same seed makes the same data
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A fixed time instead of the system clock, such as 2026-01-31T12:00:00Z
    #[arg(long)]
    now: Option<Timestamp>,
    /// The shortest duration of an API request, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// The number of requests that are remembered; 0 for benchmarks
    #[arg(long, default_value_t = 10_000)]
    remember_requests: usize,
    /// Stop when standard input ends, so that it cannot outlive the program that started it
    #[arg(long)]
    exit_with_stdin: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.listen.ip().is_loopback(),
        "--listen {}: only loopback addresses such as 127.0.0.1:0 are allowed, as there is no login",
        arguments.listen
    );
    let Arguments {
        listen,
        people,
        days,
        page_size,
        seed,
        now,
        latency_ms,
        remember_requests,
        exit_with_stdin,
    } = arguments;
    let settings = Settings {
        page_size,
        latency_ms,
        ..Settings::default()
    };
    let simulator = Simulator::start(Options {
        listen,
        people,
        days,
        seed,
        now,
        remember_requests,
        settings,
    })
    .await
    .with_context(|| format!("--listen {listen}: cannot be listened on; choose another port"))?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", simulator.secret_json())
        .and_then(|()| output.flush())
        .context("standard output")?;

    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
        () = end_of_input(), if exit_with_stdin => {}
    }
    Ok(())
}

async fn end_of_input() {
    let mut ignored = [0; 256];
    let mut input = tokio::io::stdin();
    while matches!(input.read(&mut ignored).await, Ok(length) if length > 0) {}
}
