//! Programs run in a process of their own: the same executable, started again. A program that recurses for ever, never
//! ends or takes all memory ends that process, not the function. The process has no environment and no credentials.
//!
//! Requests and answers are lines of JSON. The process is started when a program is first used, and again after it died.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::evaluate::Evaluator;
use super::{CompileError, Moment, Place, RunError};

/// Marks the process that runs programs; its only argument.
const ARGUMENT: &str = "--transformer-worker";
/// How long one program may run.
const LONGEST: Duration = Duration::from_secs(5);
/// What the process may take, in bytes.
const MOST_MEMORY: u64 = 128 << 20;
/// The stack of the thread that runs programs: enough for what any sensible program nests.
const STACK: usize = 16 << 20;
/// What all outputs of one program may take; SQS carries a quarter of it.
const LONGEST_OUTPUT: usize = 4 << 20;
/// How the process ends when a program took too long.
const TOO_LONG: u8 = 124;

static IS_AVAILABLE: AtomicBool = AtomicBool::new(false);
static WORKER: Mutex<Option<Worker>> = Mutex::new(None);

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) program: String,
    /// Whether it is an incoming connection's program.
    pub(super) incoming: bool,
    pub(super) work: Work,
}

/// What is to be done with a program.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    Compile,
    Run(Input),
    /// Where in it an error with this message comes from.
    Locate(Input, String),
}

/// What a program is run on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) json: String,
    /// What an incoming connection's program sees besides its input; an outgoing one's sees nothing.
    pub(super) moment: Option<Moment>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Outputs(Vec<String>),
    Compile(CompileError),
    Run(RunError),
    Place(Option<Place>),
}

/// Has to be the first thing that a function's `main` does: in the process that runs programs it never returns.
///
/// Without this call, as in tests, programs run inside the calling process.
pub fn serve_if_worker() {
    if std::env::args().nth(1).as_deref() == Some(ARGUMENT) {
        serve();
    }
    IS_AVAILABLE.store(true, Ordering::Relaxed);
}

/// Lets the task be done, in the process made for it.
pub(super) fn answer(task: &Task) -> Answer {
    if !IS_AVAILABLE.load(Ordering::Relaxed) {
        return Evaluator::default().answer(task);
    }
    let mut worker = WORKER.lock().unwrap_or_else(PoisonError::into_inner);
    // One that died since it was last used is not the program's fault.
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

    /// Err: the process ended, at a limit if one is given.
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

/// Does tasks until there are no more.
fn serve() -> ! {
    let limits = [(Resource::Data, MOST_MEMORY), (Resource::Core, 0)];
    for (resource, most) in limits {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        // Where a system lacks the limit, the others hold.
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
            // The program made the evaluator panic.
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
