//! From exec to the first poll, and from a cold start to the first page.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use crate::Scale;
use crate::data::{Data, event};
use crate::function::{Function, Program};
use crate::progress;
use crate::report::{Promise, Table, Target, median, milliseconds};

/// Starts are short, so that more of them are measured.
const STARTS_PER_RUN: usize = 4;

async fn to_first_poll(program: Program, data: &Data) -> anyhow::Result<Duration> {
    let function = Function::start(program, &data.aws).await?;
    let took = function.first_poll().await?;
    function.stop().await?;
    Ok(took)
}

async fn to_first_page(program: Program, data: &Data) -> anyhow::Result<Duration> {
    let mut function = Function::start(program, &data.aws).await?;
    function.invoke(event(&json!({}))).await?;
    let first_page = data.aws.take()?.first_page.context("no page was sent")?;
    let took = first_page.duration_since(function.started())?;
    function.stop().await?;
    Ok(took)
}

pub(crate) async fn start(scale: &Scale, targets: &mut Vec<Target>) -> anyhow::Result<Table> {
    let data = Data::clockings(400).await?;
    let programs = [
        Program::Subscriber,
        Program::Publisher,
        Program::Minimal,
        Program::PythonSubscriber,
    ];
    let pages = [Program::Subscriber, Program::PythonSubscriber];
    let mut polls = programs.map(|_| Vec::new());
    let mut first_pages = pages.map(|_| Vec::new());
    for number in 1..=scale.runs {
        progress(&format!("start: run {number} of {}", scale.runs));
        for _ in 0..STARTS_PER_RUN {
            for (program, polls) in programs.iter().zip(&mut polls) {
                polls.push(milliseconds(to_first_poll(*program, &data).await?));
            }
            for (program, first_pages) in pages.iter().zip(&mut first_pages) {
                first_pages.push(milliseconds(to_first_page(*program, &data).await?));
            }
        }
    }
    let polls = polls.map(median);
    let first_pages = first_pages.map(median);
    let mut table = Table::new(
        "Start",
        format!(
            "From exec, medians of {} starts. The first page holds 400 clockings.",
            scale.runs * STARTS_PER_RUN
        ),
        &["program", "to the first poll", "to the first page in SQS"],
    );
    for (program, poll) in programs.iter().zip(polls) {
        let first_page = pages.iter().position(|page| page == program);
        table.row([
            program.name().to_owned(),
            format!("{poll:.1} ms"),
            first_page.map_or("-".to_owned(), |index| {
                format!("{:.1} ms", first_pages[index])
            }),
        ]);
    }
    targets.extend([
        Target::new(
            "exec to first poll, subscriber / minimal Rust",
            Promise::AtMostTimes(1.5),
            polls[0] / polls[2],
        ),
        Target::new(
            "exec to first poll, publisher / minimal Rust",
            Promise::AtMostTimes(1.5),
            polls[1] / polls[2],
        ),
        Target::new(
            "exec to first poll, Python / subscriber",
            Promise::AtLeastTimes(20.0),
            polls[3] / polls[0],
        ),
        Target::new(
            "exec to first poll, Python / publisher",
            Promise::AtLeastTimes(20.0),
            polls[3] / polls[1],
        ),
    ]);
    Ok(table)
}
