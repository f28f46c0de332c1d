//! Runs programs in a worker process: the same executable, started again. A program that recurses for ever, never ends
//! or takes all memory ends that process, not the function. The process has no environment and no credentials.
//!
//! Requests and responses are lines of JSON. The process starts when a program is first used, and again after it died.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::evaluate::Evaluator;
use super::{CompileError, Moment, Place, RunError};

/// The only argument of the worker process, which marks it.
const ARGUMENT: &str = "--transformer-worker";
/// Longest run time of one program.
const LONGEST: Duration = Duration::from_secs(5);
/// Memory limit of the process, in bytes.
const MOST_MEMORY: u64 = 128 << 20;
/// Stack of the thread that runs programs, in bytes: enough for any sensible nesting.
const STACK: usize = 16 << 20;
/// Size limit of all outputs of one program, in bytes. SQS carries a quarter of it.
const LONGEST_OUTPUT: usize = 4 << 20;
/// Exit status of the process when a program took too long.
const TOO_LONG: u8 = 124;

static IS_AVAILABLE: AtomicBool = AtomicBool::new(false);
static WORKER: Mutex<Option<Worker>> = Mutex::new(None);

/// A request to the worker process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) program: String,
    /// Whether it is an incoming connection's program.
    pub(super) incoming: bool,
    pub(super) work: Work,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    Compile,
    Run(Input),
    /// Find where an error with this message comes from.
    Locate(Input, String),
}

/// The input of a program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) json: String,
    /// The schedule of an incoming connection's run. None for an outgoing connection.
    pub(super) moment: Option<Moment>,
}

/// The response of the worker process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Outputs(Vec<String>),
    Compile(CompileError),
    Run(RunError),
    Place(Option<Place>),
}

/// Call this first in a function's `main`. In the worker process it never returns.
///
/// Without this call, as in tests, programs run inside the calling process.
pub fn serve_if_worker() {
    if std::env::args().nth(1).as_deref() == Some(ARGUMENT) {
        serve();
    }
    IS_AVAILABLE.store(true, Ordering::Relaxed);
}

/// Has the worker process do a task.
pub(super) fn answer(task: &Task) -> Answer {
    if !IS_AVAILABLE.load(Ordering::Relaxed) {
        return Evaluator::default().answer(task);
    }
    let mut worker = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    // A process that died since its last use is not the program's fault, so a new one is tried.
    for is_fresh in [worker.is_none(), true] {
        let running = match worker.take().map_or_else(Worker::start, Ok) {
            Ok(running) => running,
            Err(error) => {
                return Answer::Run(RunError::Unavailable(error.to_string()));
            }
        };
        match running.ask(task) {
            Ok((answer, running)) => {
                *worker = Some(running);
                return answer;
            }
            Err(Some(limit)) => return Answer::Run(limit),
            Err(None) if is_fresh => break,
            Err(None) => {}
        }
    }
    Answer::Run(RunError::Unavailable("it ended at once".to_owned()))
}

struct Worker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    fn start() -> std::io::Result<Self> {
        let executable = std::env::current_exe()?;
        let mut child = Command::new(executable)
            .arg(ARGUMENT)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (requests, answers) = pipes.ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            requests,
            answers: BufReader::new(answers),
        })
    }

    /// Asks the process, and returns it for further use. On error it has ended; the error names the limit, if one ended
    /// it.
    fn ask(mut self, task: &Task) -> Result<(Answer, Self), Option<RunError>> {
        let mut line = serde_json::to_string(task).unwrap_or_default();
        line.push('\n');
        let asked = self.requests.write_all(line.as_bytes());
        let mut line = String::new();
        let read = self.answers.read_line(&mut line);
        if asked.is_ok()
            && read.is_ok()
            && let Ok(answer) = serde_json::from_str(&line)
        {
            return Ok((answer, self));
        }
        drop(self.requests);
        let was_asked = asked.is_ok();
        let ended = self.child.wait();
        Err(ended.ok().filter(|_| was_asked).map(limit))
    }
}

fn limit(status: ExitStatus) -> RunError {
    RunError::Limit(if status.code() == Some(i32::from(TOO_LONG)) {
        format!("it ran for more than {} seconds", LONGEST.as_secs())
    } else {
        format!(
            "it recursed without an end, or took more than {} MiB",
            MOST_MEMORY >> 20
        )
    })
}

/// Does tasks until the input ends.
fn serve() -> ! {
    let limits = [(Resource::Data, MOST_MEMORY), (Resource::Core, 0)];
    for (resource, most) in limits {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // If the system lacks one limit, the others still hold.
        let _ = setrlimit(resource, limit);
    }
    let (tasks, to_do) = mpsc::channel::<Task>();
    let (done, answers) = mpsc::channel::<Answer>();
    let evaluator = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            let mut evaluator = Evaluator::default();
            while let Ok(task) = to_do.recv()
                && done.send(evaluator.answer(&task)).is_ok()
            {}
        });
    if evaluator.is_err() {
        std::process::exit(1);
    }
    for line in std::io::stdin().lock().lines() {
        let task = line.ok().and_then(|line| serde_json::from_str(&line).ok());
        if task.is_none_or(|task| tasks.send(task).is_err()) {
            std::process::exit(1);
        }
        let answer = match answers.recv_timeout(LONGEST) {
            Ok(answer) => within_limit(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => std::process::exit(i32::from(TOO_LONG)),
            // The evaluator panicked on the program.
            Err(mpsc::RecvTimeoutError::Disconnected) => std::process::exit(1),
        };
        let mut line = serde_json::to_string(&answer).unwrap_or_default();
        line.push('\n');
        let mut out = std::io::stdout().lock();
        if out
            .write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
    }
    std::process::exit(0)
}

fn within_limit(answer: Answer) -> Answer {
    match answer {
        Answer::Outputs(outputs)
            if outputs.iter().map(String::len).sum::<usize>() > LONGEST_OUTPUT =>
        {
            let problem = format!("it returned more than {} MiB", LONGEST_OUTPUT >> 20);
            Answer::Run(RunError::Limit(problem))
        }
        answer => answer,
    }
}
