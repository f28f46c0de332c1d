//! The commands, one file each.

mod backfill;
pub(crate) mod check;
mod completions;
mod count;
pub(crate) mod entities;
mod failed;
mod follow;
mod forget;
mod new;
pub(crate) mod parked;
mod pause;
pub(crate) mod preview;
mod probe;
mod resume;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod status;
pub(crate) mod r#try;
mod webhooks;

use crate::arguments::{Arguments, Command};
use crate::error::Error;
use crate::output::Report;

pub(crate) async fn execute(arguments: &Arguments) -> Result<Report, Error> {
    let stack = &arguments.stack;
    match &arguments.command {
        Command::Check(check) => check::check(check, stack).await,
        Command::Preview(preview) => preview::preview(preview, stack).await,
        Command::Try(program) => r#try::run(program),
        Command::Entities(entities) => entities::list(entities),
        Command::Count(count) => count::count(count, stack).await,
        Command::Status(status) => status::status(status, stack).await,
        Command::Runs(runs) => runs::runs(runs, stack).await,
        Command::Run(run) => run::run(run, stack).await,
        Command::Backfill(backfill) => backfill::backfill(backfill, stack).await,
        Command::Pause(pause) => pause::pause(pause, stack).await,
        Command::Resume(resume) => resume::resume(resume, stack).await,
        Command::Parked(parked) => parked::parked(parked, stack).await,
        Command::Failed(failed) => failed::failed(failed, stack).await,
        Command::New(new) => new::new(new, stack).await,
        Command::Probe(probe) => probe::probe(probe, stack).await,
        Command::Console(console) => crate::console::console(console, stack, arguments.json).await,
        Command::Webhooks(webhooks) => webhooks::webhooks(webhooks, stack).await,
        Command::Forget(forget) => forget::forget(forget, stack).await,
        Command::Completions(completions) => Ok(completions::print(completions)),
    }
}
