//! Measures starts. From exec to the first poll, a function has a whole processor. From there to the first page or
//! write, it has the share of its memory.

use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use simulator::Options;

use crate::cost::MEMORY_MB;
use crate::data::{Data, event};
use crate::function::{Function, Program};
use crate::report::{Promise, Table, Target, median, milliseconds};
use crate::share::{Share, how, of_memory, processor_time, waits};
use crate::{Scale, progress, publish};

/// Starts are short, so each run measures several.
const STARTS_PER_RUN: usize = 4;

const PROGRAMS: [Program; 5] = [
    Program::Subscriber,
    Program::Publisher,
    Program::Minimal,
    Program::PythonSubscriber,
    Program::PythonPublisher,
];

/// The durations of starts, in milliseconds.
#[derive(Default)]
struct Starts {
    /// From exec to the first poll.
    poll: Vec<f64>,
    poll_cpu: Vec<f64>,
    /// The processor time of the first event.
    event_cpu: Vec<f64>,
    /// From exec to the first page in SQS, or to the end of the first batch of writes.
    effect: Vec<f64>,
}

impl Starts {
    fn add(&mut self, start: &Start) {
        self.poll.push(milliseconds(start.poll));
        self.poll_cpu.push(milliseconds(start.poll_cpu));
        if let Some((cpu, effect)) = start.first_event {
            self.event_cpu.push(milliseconds(cpu));
            self.effect.push(milliseconds(effect));
        }
    }
}

struct Start {
    poll: Duration,
    poll_cpu: Duration,
    first_event: Option<(Duration, Duration)>,
}

async fn measure(
    program: Program,
    data: &Data,
    share: Option<&Share>,
    number: u64,
) -> anyhow::Result<Start> {
    let mut function = Function::start(program, &data.aws).await?;
    let poll = function.first_poll().await?;
    let process = function.process();
    let poll_cpu = processor_time(process)?;
    if let Some(share) = share {
        share.limit(process)?;
    }
    let first_event = match program {
        Program::Minimal => None,
        Program::Subscriber | Program::PythonSubscriber => {
            let (took, _) = function.invoke(event(&json!({}))).await?;
            let first_page = data.aws.take()?.first_page.context("no page was sent")?;
            let until_page = first_page.duration_since(function.event_issued())?;
            Some(until_page.min(took))
        }
        Program::Publisher | Program::PythonPublisher => {
            Some(publish::write(&mut function, program, number, publish::BATCH).await?)
        }
    };
    let first_event = match first_event {
        None => None,
        Some(took) => {
            let cpu = processor_time(process)?.saturating_sub(poll_cpu);
            let waits = waits(share, MEMORY_MB, cpu);
            Some((cpu, poll + took + waits))
        }
    };
    function.stop().await?;
    Ok(Start {
        poll,
        poll_cpu,
        first_event,
    })
}

pub(crate) async fn start(scale: &Scale, targets: &mut Vec<Target>) -> anyhow::Result<Table> {
    let data = Data::new(Options {
        people: 25,
        days: 8,
        remember_requests: 0,
        ..Options::default()
    })
    .await?;
    let share = Share::of_memory(MEMORY_MB);
    let mut starts = PROGRAMS.map(|_| Starts::default());
    let mut batches = 0;
    for number in 1..=scale.runs {
        progress(&format!("start: run {number} of {}", scale.runs));
        for _ in 0..STARTS_PER_RUN {
            for (program, starts) in PROGRAMS.into_iter().zip(&mut starts) {
                starts.add(&measure(program, &data, share.as_ref(), batches).await?);
                batches += publish::BATCH;
            }
        }
    }
    let how = how(share.is_some());
    let mut table = Table::new(
        "Start",
        format!(
            "From exec, medians of {} starts. The start has a whole processor, the handler what Lambda gives for {MEMORY_MB} MB, \
             {:.3} of one ({how}). The first page holds 400 clockings, the first batch {} writes.",
            scale.runs * STARTS_PER_RUN,
            of_memory(MEMORY_MB),
            publish::BATCH
        ),
        &[
            "program",
            "CPU, start",
            "to the first poll",
            "CPU, first event",
            "to the first page in SQS, or batch written",
        ],
    );
    let figure = |figures: Vec<f64>| {
        let median = median(figures);
        let shown = if median.is_nan() {
            "-".to_owned()
        } else {
            format!("{median:.1} ms")
        };
        (median, shown)
    };
    let mut effects = Vec::new();
    for (program, starts) in PROGRAMS.iter().zip(starts) {
        let (effect, shown) = figure(starts.effect);
        effects.push(effect);
        table.row([
            program.name().to_owned(),
            figure(starts.poll_cpu).1,
            figure(starts.poll).1,
            figure(starts.event_cpu).1,
            shown,
        ]);
    }
    for (name, ours, theirs) in [
        ("cold start to the first page, Python / subscriber", 0, 3),
        ("cold start to the first batch, Python / publisher", 1, 4),
    ] {
        let ratio = effects[theirs] / effects[ours];
        targets.push(Target::new(name, Promise::AtLeastTimes(10.0), ratio));
    }
    Ok(table)
}
