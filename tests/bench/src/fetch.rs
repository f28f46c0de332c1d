//! Measures how clockings get to SQS, and how the cost grows with their number.

use std::collections::HashMap;

use anyhow::ensure;
use serde_json::{Value, json};
use simulator::{Options, Settings};

use crate::Scale;
use crate::aws::Received;
use crate::data::{Data, FILTER, event};
use crate::function::{Function, Program, bootstrap, ensure_all, python, root, shown, work};
use crate::process::{Running, Usage};
use crate::progress;
use crate::report::{Medians, Promise, Table, Target, grouped, seconds, times};

const ABOVE_THE_FLOOR: &str = "\
    The floor only has the kernel copy bytes. A profile of the subscriber, in multiples of the floor: \
    writing the records as a string into the call's JSON 0.9; checking the page's JSON and finding its records 0.9; \
    copying in the kernel 0.8; SHA-256 of the call, which SQS demands, 0.6; allocating and copying 0.3; \
    XXH3 of the ids 0.1; the rest 0.6. Records go out as slices of the response, escaped once, four pages a call. \
    Tried on a page and dropped: AWS-LC's SHA-256 (1.8 GB/s, no faster); sonic-rs (1.56 GB/s as a list of lazy values, \
    0.79 as an iterator; serde_json 1.42); four other ways to escape (0.6 to 0.9 GB/s; ours 1.7). \
    Checking less, or leaving out a hash, would break the guarantees of the messages.";

/// Every property of a clocking except those that are always kept.
const EVERYTHING: [&str; 14] = [
    "person.id",
    "date",
    "timeOfDayInMinutes",
    "originalTimeOfDayInMinutes",
    "calculatedTimeOfDayInMinutes",
    "isGenerated",
    "terminal.id",
    "geolocation.longitude",
    "geolocation.latitude",
    "kind",
    "reason.id",
    "isOpen",
    "activityLevels[].level",
    "activityLevels[].activityDefinition.id",
];
const HALF: [&str; 7] = [
    "person.id",
    "date",
    "timeOfDayInMinutes",
    "calculatedTimeOfDayInMinutes",
    "terminal.id",
    "kind",
    "activityLevels[].level",
];
const THREE: [&str; 3] = ["person.id", "date", "timeOfDayInMinutes"];

/// The figures from which the costs are computed.
pub(crate) struct Fetched {
    pub(crate) records: u64,
    pub(crate) ours: Medians,
    pub(crate) python: Medians,
    pub(crate) received: Received,
}

/// Runs a subscriber once over all data.
pub(crate) async fn run(program: Program, data: &Data) -> anyhow::Result<(Usage, Received)> {
    run_with(program, data, &json!({})).await
}

/// Runs a subscriber whose connection has these additional members.
async fn run_with(
    program: Program,
    data: &Data,
    members: &Value,
) -> anyhow::Result<(Usage, Received)> {
    let mut function = Function::start(program, &data.aws).await?;
    function.invoke(event(members)).await?;
    let usage = function.stop().await?;
    let received = data.aws.take()?;
    ensure_all(program.name(), received.records, data.records)?;
    Ok((usage, received))
}

/// Runs a program that is not a Lambda function.
async fn run_program(
    name: &str,
    command: &[String],
    environment: &[(&str, String)],
) -> anyhow::Result<Usage> {
    let environment: HashMap<String, String> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let log = work()?.join(format!("{name}.log"));
    Running::start(command, &environment, &log)
        .await?
        .end()
        .await
}

/// Runs the floor: it downloads the same bytes and sends as many as the subscriber did.
async fn run_floor(
    data: &Data,
    subscriber: &Received,
    pages: u64,
    hash: bool,
) -> anyhow::Result<Usage> {
    let pages_per_call = pages.div_ceil(subscriber.calls);
    let calls = pages.div_ceil(pages_per_call);
    let base_uri = data.protime.base_uri();
    let filter: String = url::form_urlencoded::byte_serialize(FILTER.as_bytes()).collect();
    let mut environment = vec![
        (
            "FIRST_PAGE",
            format!("{base_uri}/connector/protimeapi/api/v1/clockings?filter={filter}"),
        ),
        ("ACCESS_TOKEN", data.token().await?),
        ("SINK", format!("{}/floor", data.aws.endpoint)),
        ("PAGES_PER_CALL", pages_per_call.to_string()),
        ("BYTES_PER_CALL", (subscriber.bytes / calls).to_string()),
    ];
    if hash {
        environment.push(("HASH", "1".to_owned()));
    }
    let usage = run_program("floor", &[shown(&bootstrap("floor"))], &environment).await?;
    let received = data.aws.take()?;
    ensure_all("calls of the floor", received.calls, calls)?;
    Ok(usage)
}

/// Runs a peer (dlt or airbyte-cdk) in a directory of its own, which is emptied before.
async fn run_peer(
    name: &str,
    script: &str,
    arguments: &[&str],
    data: &Data,
) -> anyhow::Result<Usage> {
    let directory = work()?.join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory)?;
    let directory = shown(&directory);
    let script = shown(&root().join("tests/bench/peers").join(script));
    let mut command = vec![python(), script];
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    command.push(directory.clone());
    let environment = [
        ("SECRET", data.protime.secret_json()),
        ("FILTER", FILTER.to_owned()),
        ("RECORDS", data.records.to_string()),
        ("HOME", directory.clone()),
        ("DLT_DATA_DIR", directory),
        ("RUNTIME__DLTHUB_TELEMETRY", "false".to_owned()),
        (
            "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION",
            "true".to_owned(),
        ),
    ];
    run_program(name, &command, &environment).await
}

/// Measures the subscriber and its peers.
pub(crate) async fn fetch(
    scale: &Scale,
    targets: &mut Vec<Target>,
) -> anyhow::Result<(Table, Fetched)> {
    let data = Data::clockings(scale.fetched).await?;
    let pages = data.records.div_ceil(500);
    // The simulator makes its pages in the first run, which therefore does not count.
    let (_, received) = run(Program::Subscriber, &data).await?;
    let names = [
        "subscriber",
        "floor: the same bytes, no JSON",
        "floor with the signature's SHA-256",
        "Python function, httpx and boto3",
        "dlt rest_api, extract only",
        "dlt rest_api, load to JSON lines",
        "airbyte-cdk declarative source",
    ];
    let mut usages: [Vec<Usage>; 7] = Default::default();
    for number in 1..=scale.runs {
        progress(&format!("fetch: run {number} of {}", scale.runs));
        let (usage, ours) = run(Program::Subscriber, &data).await?;
        usages[0].push(usage);
        usages[1].push(run_floor(&data, &received, pages, false).await?);
        usages[2].push(run_floor(&data, &received, pages, true).await?);
        let (usage, theirs) = run(Program::PythonSubscriber, &data).await?;
        ensure!(
            ours.pages == theirs.pages,
            "the Python function sends other pages than the subscriber"
        );
        usages[3].push(usage);
        usages[4].push(run_peer("dlt-extract", "dlt_clockings.py", &["extract"], &data).await?);
        usages[5].push(run_peer("dlt-load", "dlt_clockings.py", &["load"], &data).await?);
        usages[6].push(run_peer("airbyte", "airbyte_clockings.py", &[], &data).await?);
    }
    let medians = usages.map(|usages| Medians::of(&usages));
    let ours = medians[0];
    let records = count(data.records);
    let mut table = Table::new(
        "Fetch",
        format!(
            "{} clockings in {pages} pages of 500. The subscriber sent {} bytes in {} calls of SQS.",
            grouped(records),
            grouped(count(received.bytes)),
            received.calls
        ),
        &[
            "program",
            "wall",
            "CPU",
            "peak memory",
            "records per CPU second",
            "CPU / subscriber",
        ],
    );
    for (name, medians) in names.iter().zip(&medians) {
        table.row([
            (*name).to_owned(),
            seconds(medians.wall),
            seconds(medians.cpu),
            format!("{:.1} MiB", medians.peak),
            grouped(records / medians.cpu),
            format!("{:.2}x", medians.cpu / ours.cpu),
        ]);
    }
    let against = |index: usize| medians[index].cpu / ours.cpu;
    targets.extend([
        Target::new(
            "records per CPU second / dlt extract only",
            Promise::AtLeastTimes(10.0),
            against(4),
        ),
        Target::new(
            "records per CPU second / dlt full load",
            Promise::AtLeastTimes(30.0),
            against(5),
        ),
        Target::new(
            "records per CPU second / airbyte-cdk",
            Promise::AtLeastTimes(20.0),
            against(6),
        ),
        Target::new(
            "records per CPU second / Python function",
            Promise::AtLeastTimes(5.0),
            against(3),
        ),
        Target::new("CPU / floor", Promise::AtMostTimes(4.0), 1.0 / against(1))
            .because(ABOVE_THE_FLOOR),
        Target::new(
            "CPU / floor with the signature's hash",
            Promise::AtMostTimes(1.6),
            1.0 / against(2),
        )
        .because(ABOVE_THE_FLOOR),
    ]);
    let fetched = Fetched {
        records: data.records,
        ours,
        python: medians[3],
        received,
    };
    Ok((table, fetched))
}

/// Measures what a connection's `fields` cost and save.
pub(crate) async fn fields(scale: &Scale, targets: &mut Vec<Target>) -> anyhow::Result<Table> {
    let data = Data::clockings(scale.fetched).await?;
    let cases = [
        ("no fields", json!({})),
        ("everything kept", json!({"fields": EVERYTHING})),
        ("half kept", json!({"fields": HALF})),
        ("three properties kept", json!({"fields": THREE})),
    ];
    // The simulator makes its pages in the first run, which therefore does not count.
    run(Program::Subscriber, &data).await?;
    let mut usages: [Vec<Usage>; 4] = Default::default();
    let mut sent = [0; 4];
    for number in 1..=scale.runs {
        progress(&format!("fields: run {number} of {}", scale.runs));
        for (index, (_, members)) in cases.iter().enumerate() {
            let (usage, received) = run_with(Program::Subscriber, &data, members).await?;
            usages[index].push(usage);
            sent[index] = received.bytes;
        }
    }
    let medians = usages.map(|usages| Medians::of(&usages));
    let mut table = Table::new(
        "Fields",
        format!(
            "{} clockings in pages of 500, of which a connection's `fields` are sent, and what always is.",
            grouped(count(data.records))
        ),
        &[
            "fields",
            "bytes sent",
            "CPU",
            "peak memory",
            "CPU / no fields",
        ],
    );
    for (index, (name, _)) in cases.iter().enumerate() {
        table.row([
            (*name).to_owned(),
            grouped(count(sent[index])),
            seconds(medians[index].cpu),
            format!("{:.1} MiB", medians[index].peak),
            format!("{:.2}x", medians[index].cpu / medians[0].cpu),
        ]);
    }
    for (figure, most, index) in [
        ("CPU, everything kept / no fields", 1.3, 1),
        ("CPU, three properties kept / no fields", 1.0, 3),
    ] {
        let ratio = medians[index].cpu / medians[0].cpu;
        targets.push(Target::new(figure, Promise::AtMostTimes(most), ratio));
    }
    Ok(table)
}

/// Measures the subscriber with increasing numbers of records.
pub(crate) async fn growth(scale: &Scale, targets: &mut Vec<Target>) -> anyhow::Result<Table> {
    let mut table = Table::new(
        "Growth",
        "The subscriber, pages of 500.",
        &[
            "records",
            "wall",
            "CPU",
            "wall per record",
            "CPU per record",
            "peak memory",
        ],
    );
    let mut peaks = Vec::new();
    for records in scale.grown {
        let data = Data::clockings(records).await?;
        run(Program::Subscriber, &data).await?;
        let mut usages = Vec::new();
        for number in 1..=scale.runs {
            progress(&format!(
                "growth: {records} records, run {number} of {}",
                scale.runs
            ));
            usages.push(run(Program::Subscriber, &data).await?.0);
        }
        let Medians { wall, cpu, peak } = Medians::of(&usages);
        peaks.push(peak);
        let records = count(records);
        table.row([
            grouped(records),
            seconds(wall),
            seconds(cpu),
            format!("{:.2} µs", wall / records * 1e6),
            format!("{:.2} µs", cpu / records * 1e6),
            format!("{peak:.1} MiB"),
        ]);
    }
    if let (Some(first), Some(last)) = (peaks.first(), peaks.last()) {
        targets.extend([
            Target::new(
                "peak memory, 1,000,000 records",
                Promise::Under(48.0, "MiB"),
                *last,
            ),
            Target::new(
                "peak memory, 1,000,000 / 10,000 records",
                Promise::AtMostTimes(1.1),
                last / first,
            ),
        ]);
    }
    Ok(table)
}

/// Measures how close parallel windows come to the ideal.
pub(crate) async fn latency(scale: &Scale, targets: &mut Vec<Target>) -> anyhow::Result<Table> {
    const WINDOWS: u64 = 32;
    let mut table = Table::new(
        "Latency",
        "32 windows of 5 pages, one warm function. The ideal is the latency of the pages alone.",
        &[
            "latency",
            "concurrency",
            "wall",
            "ideal",
            "wall / ideal",
            "speed / concurrency 1",
        ],
    );
    let data = Data::new(Options {
        people: 25,
        days: 320,
        remember_requests: 0,
        settings: Settings {
            page_size: 100,
            ..Settings::default()
        },
        ..Options::default()
    })
    .await?;
    for latency_ms in scale.latencies {
        data.protime
            .configure(|settings| settings.latency_ms = latency_ms);
        let mut function = Function::start(Program::Subscriber, &data.aws).await?;
        let mut walls = [const { Vec::new() }; 3];
        // The simulator makes its pages in the very first run, which therefore does not count.
        let first = usize::from(latency_ms != scale.latencies[0]);
        for number in first..=scale.runs {
            progress(&format!(
                "latency: {latency_ms} ms, run {number} of {}",
                scale.runs
            ));
            for (concurrency, walls) in [1, 4, 16].into_iter().zip(&mut walls) {
                let event = json!({
                    "concurrency": concurrency, "window": "P10D",
                    "query": {"filter": "date ge '2025-03-18' and date le '2026-01-31'"},
                });
                let (took, _) = function.invoke(self::event(&event)).await?;
                let received = data.aws.take()?;
                ensure_all("windows", received.records, data.records)?;
                ensure_all("pages of the windows", received.messages, WINDOWS * 5)?;
                if number > 0 {
                    walls.push(took.as_secs_f64());
                }
            }
        }
        function.stop().await?;
        let walls = walls.map(crate::report::median);
        for (concurrency, wall) in [1_u64, 4, 16].into_iter().zip(walls) {
            let ideal = count(WINDOWS.div_ceil(concurrency) * 5 * latency_ms) / 1e3;
            table.row([
                format!("{latency_ms} ms"),
                concurrency.to_string(),
                seconds(wall),
                seconds(ideal),
                if latency_ms == 0 {
                    "-".to_owned()
                } else {
                    format!("{:.2}x", wall / ideal)
                },
                times(walls[0] / wall),
            ]);
        }
        if latency_ms == 100 {
            let figure = "32 windows at 100 ms, concurrency 16 / 1";
            targets.push(Target::new(
                figure,
                Promise::AtLeastTimes(12.0),
                walls[0] / walls[2],
            ));
        }
    }
    Ok(table)
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub(crate) fn count(number: u64) -> f64 {
    number as f64
}

/// The payload of a write. Each number gives another one.
pub(crate) fn clocking(number: u64) -> Value {
    json!({
        "person": {"id": number % 25 + 1},
        "date": format!("2026-01-{:02}", number / 25 / 1440 + 1),
        "timeOfDayInMinutes": number / 25 % 1440,
        "kind": "InOut",
    })
}
