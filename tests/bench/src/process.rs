//! Measures commands as whole processes.
//!
//! A small process of its own starts each command. Linux counts the memory of the starting process towards the peak of
//! the started one. The benchmark itself would be too large for that, because of its servers.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

/// The hidden command with which the benchmark starts itself to measure another program.
pub(crate) const MEASURE: &str = "measure";

/// The resources that a process used from start to end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Elapsed time.
    pub(crate) wall: Duration,
    /// User and system time of the process and its children.
    pub(crate) cpu: Duration,
    /// Peak resident memory, in bytes.
    pub(crate) peak: u64,
    /// Whether the process ended by itself and with success.
    succeeded: bool,
}

/// Runs a command to its end, or kills it when standard input ends. It prints the start time and the process id, and at
/// the end the usage.
pub(crate) fn measure(command: &[String]) -> anyhow::Result<()> {
    let (program, arguments) = command.split_first().context("measure: needs a command")?;
    let mut output = std::io::stdout();
    let started = SystemTime::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // Standard output goes to the log, like the errors.
        .stdout(std::io::stderr())
        .spawn()
        .with_context(|| format!("{program}: cannot be started"))?;
    let since = started.duration_since(UNIX_EPOCH)?.as_nanos();
    writeln!(output, "{since} {}", child.id())?;
    output.flush()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = kill(pid, Signal::SIGKILL);
    });
    let status = child.wait()?;
    let wall = started.elapsed()?;
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    let usage = Usage {
        wall,
        cpu: Duration::from_micros(u64::try_from(cpu)?),
        peak: u64::try_from(usage.max_rss())? * 1024,
        succeeded: status.success(),
    };
    writeln!(output, "{}", serde_json::to_string(&usage)?)?;
    Ok(())
}

/// A process that is being measured.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    /// The time at which the process was started.
    pub(crate) started: SystemTime,
    pub(crate) id: u32,
}

impl Running {
    /// Starts a command with exactly these environment variables. Its output goes to the log.
    pub(crate) async fn start(
        command: &[String],
        environment: &HashMap<String, String>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output = std::fs::File::create(log).with_context(|| log.display().to_string())?;
        let mut child = tokio::process::Command::new(std::env::current_exe()?)
            .arg(MEASURE)
            .args(command)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the output of a process")?;
        let mut output = BufReader::new(output).lines();
        let first = output.next_line().await?;
        let first =
            first.with_context(|| format!("{}: not started; see its log", command.join(" ")))?;
        let (nanos, id) = first.split_once(' ').context("when and as which process")?;
        Ok(Self {
            child,
            log: log.to_owned(),
            input,
            output,
            started: UNIX_EPOCH + Duration::from_nanos(nanos.parse()?),
            id: id.parse()?,
        })
    }

    /// Kills the process and returns its usage.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Usage> {
        self.input.take();
        self.usage().await
    }

    /// Waits for the process to end with success, and returns its usage.
    pub(crate) async fn end(mut self) -> anyhow::Result<Usage> {
        let usage = self.usage().await?;
        ensure!(
            usage.succeeded,
            "a program failed; see {}",
            self.log.display()
        );
        Ok(usage)
    }

    async fn usage(&mut self) -> anyhow::Result<Usage> {
        let line = self.output.next_line().await?;
        let usage = serde_json::from_str(&line.context("a process without usage")?)?;
        ensure!(self.child.wait().await?.success(), "measuring failed");
        Ok(usage)
    }
}
