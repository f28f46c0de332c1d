//! Measures how publish requests get to Protime.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Options, Settings};

use crate::Scale;
use crate::data::Data;
use crate::fetch::{clocking, count};
use crate::function::{Function, Program, ensure_all};
use crate::progress;
use crate::report::{Medians, Promise, Table, Target, seconds};

pub(crate) const BATCH: u64 = 10;
const LATENCY_MS: u64 = 20;

const ABOVE_THE_TARGET: &str = "\
    By a profile, the AWS SDK takes 47% of the publisher's processor time for the three state writes of a write, some 60 µs \
    each: a fifth of that for the signature, the rest for its plugins, interceptors, futures and allocations. The connections \
    (hyper and the kernel) take 19%, deciding and asking Protime 10%. A batch is ten writes on one processor, so it takes that \
    time ten times. Each of the three writes keeps a guarantee: the attempt, the record \
    that Protime made, the end. Tried and not kept: optimising the SDK, hyper and tokio for speed instead of size (402 µs a \
    write as before, 1.6 MB more). Kept: no stalled-stream protection, which the time limit of an attempt covers.";

/// The figures from which the costs are computed.
pub(crate) struct Published {
    pub(crate) writes: u64,
    pub(crate) ours: Medians,
    pub(crate) python: Medians,
    pub(crate) state_writes: [u64; 2],
}

/// An event with a batch of publish requests, as Lambda receives them from SQS.
fn batch(first: u64, size: u64) -> String {
    let records: Vec<Value> = (first..first + size)
        .map(|number| {
            let body = json!({
                "client": "protime/bench", "method": "POST", "entity": "clockings", "payload": clocking(number),
            });
            json!({
                "messageId": format!("00000000-0000-0000-0000-{number:012}"),
                "receiptHandle": "bench",
                "body": body.to_string(),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:publish",
                "awsRegion": "eu-west-1",
            })
        })
        .collect();
    json!({"Records": records}).to_string()
}

/// Lets a publisher write a batch. Returns the duration.
pub(crate) async fn write(
    function: &mut Function,
    program: Program,
    first: u64,
    size: u64,
) -> anyhow::Result<Duration> {
    let (took, answer) = function.invoke(batch(first, size)).await?;
    let answer: Value = serde_json::from_str(&answer)?;
    anyhow::ensure!(
        answer == json!({"batchItemFailures": []}),
        "{} failed: {answer}",
        program.name()
    );
    Ok(took)
}

pub(crate) async fn publish(
    scale: &Scale,
    targets: &mut Vec<Target>,
) -> anyhow::Result<(Table, Published)> {
    let data = Data::new(Options {
        people: 25,
        remember_requests: 1_000_000,
        settings: Settings {
            latency_ms: LATENCY_MS,
            ..Settings::default()
        },
        ..Options::default()
    })
    .await?;
    let programs = [Program::Publisher, Program::PythonPublisher];
    let mut usages = programs.map(|_| Vec::new());
    let mut batches = programs.map(|_| Vec::new());
    let mut alone = programs.map(|_| Vec::new());
    let mut state_writes = [0; 2];
    let mut next = 0;
    for number in 1..=scale.runs {
        progress(&format!("publish: run {number} of {}", scale.runs));
        for (index, program) in programs.into_iter().enumerate() {
            let mut function = Function::start(program, &data.aws).await?;
            let mut batch_time = Duration::ZERO;
            for _ in 0..scale.published / BATCH {
                batch_time += write(&mut function, program, next, BATCH).await?;
                next += BATCH;
            }
            usages[index].push(function.stop().await?);
            state_writes[index] = data.aws.take()?.state_writes;
            let mut function = Function::start(program, &data.aws).await?;
            // The first write also fetches the secret and the token, so it does not count.
            for write_alone in 0..=BATCH {
                let took = write(&mut function, program, next, 1).await?;
                next += 1;
                if write_alone > 0 {
                    alone[index].push(took.as_secs_f64());
                }
            }
            function.stop().await?;
            batches[index].push(batch_time.as_secs_f64() * count(BATCH) / count(scale.published));
        }
    }
    let requests = data.protime.requests();
    let written = requests
        .iter()
        .filter(|request| request.method == "POST" && request.status == 201);
    ensure_all("writes", u64::try_from(written.count())?, next)?;
    let medians = usages.map(|usages| Medians::of(&usages));
    let mut table = Table::new(
        "Publish",
        format!(
            "{} publish requests in batches of {BATCH}, {LATENCY_MS} ms per write. Each is noted in the state table before and after it, by the publisher also what it created.",
            scale.published
        ),
        &[
            "program",
            "wall",
            "CPU",
            "peak memory",
            "a batch",
            "a write alone",
            "CPU per write",
        ],
    );
    let batches = batches.map(crate::report::median);
    let alone = alone.map(crate::report::median);
    for (index, (program, medians)) in programs.iter().zip(&medians).enumerate() {
        table.row([
            program.name().to_owned(),
            seconds(medians.wall),
            seconds(medians.cpu),
            format!("{:.1} MiB", medians.peak),
            format!("{:.1} ms", batches[index] * 1e3),
            format!("{:.1} ms", alone[index] * 1e3),
            format!("{:.0} µs", medians.cpu / count(scale.published) * 1e6),
        ]);
    }
    targets.extend([
        Target::new(
            "CPU per write, Python / publisher",
            Promise::AtLeastTimes(15.0),
            medians[1].cpu / medians[0].cpu,
        )
        .because(ABOVE_THE_TARGET),
        Target::new(
            "a batch of 10 / a write alone",
            Promise::AtMostTimes(1.1),
            batches[0] / alone[0],
        )
        .because(ABOVE_THE_TARGET),
    ]);
    let published = Published {
        writes: scale.published,
        ours: medians[0],
        python: medians[1],
        state_writes,
    };
    Ok((table, published))
}
