//! Estimates of what AWS would charge, from the measured figures and the public prices.

use crate::fetch::{Fetched, count};
use crate::publish::Published;
use crate::report::{Medians, Table};
use crate::share;

/// On-demand prices in USD of US East (N. Virginia), published in November 2026. Prices in Europe differ by a few
/// percent.
mod price {
    /// A GB-second of Lambda on arm64.
    pub(super) const GB_SECOND: f64 = 0.000_013_333_4;
    pub(super) const INVOCATION: f64 = 0.20e-6;
    /// A request of up to 64 KiB to a standard queue.
    pub(super) const SQS_REQUEST: f64 = 0.40e-6;
    /// A write of up to 1 KB to `DynamoDB` on demand.
    pub(super) const STATE_WRITE: f64 = 0.625e-6;
}

/// The functions' memory in template.yaml.
pub(crate) const MEMORY_MB: f64 = 256.0;
/// The assumed time of Protime for a page, in seconds. Protime publishes no figure.
const PAGE: f64 = 0.1;
/// The time of a write in the benchmark, in seconds.
const WRITE: f64 = 0.02;
const INVOCATION_SECONDS: f64 = 900.0;

/// The cost of a function's time and invocations, in USD.
pub(crate) fn lambda(megabytes: f64, seconds: f64, invocations: f64) -> f64 {
    seconds * megabytes / 1024.0 * price::GB_SECOND + invocations * price::INVOCATION
}

/// The factor from the measured number to a million.
pub(crate) fn per_million(measured: u64) -> f64 {
    1e6 / count(measured)
}

fn on_lambda(cpu: f64) -> f64 {
    cpu / share::of_memory(MEMORY_MB)
}

struct Cost {
    lambda: f64,
    sqs: f64,
    state: f64,
}

fn fetch(fetched: &Fetched, medians: Medians, state_writes: u64) -> Cost {
    let per_million = per_million(fetched.records);
    let seconds = on_lambda(medians.cpu) + count(fetched.received.messages) * PAGE;
    let seconds = seconds * per_million;
    Cost {
        lambda: lambda(MEMORY_MB, seconds, (seconds / INVOCATION_SECONDS).ceil()),
        sqs: count(fetched.received.billed) * per_million * price::SQS_REQUEST,
        state: count(state_writes) * per_million * price::STATE_WRITE,
    }
}

fn publish(published: &Published, medians: Medians, state_writes: u64) -> Cost {
    let per_million = per_million(published.writes);
    let batches = count(published.writes) / 10.0;
    let seconds = on_lambda(medians.cpu) + batches * WRITE;
    Cost {
        lambda: lambda(MEMORY_MB, seconds * per_million, batches * per_million),
        // Lambda receives and deletes each batch. The sending is charged to producers.
        sqs: 2.0 * batches * per_million * price::SQS_REQUEST,
        state: count(state_writes) * per_million * price::STATE_WRITE,
    }
}

pub(crate) fn cost(fetched: &Fetched, published: &Published) -> Table {
    let mut table = Table::new(
        "Cost",
        "An estimate in USD per million, from the CPU seconds above and AWS's on-demand prices in US East (N. Virginia) of \
         November 2026: Lambda arm64 with 256 MB, which gives 0.145 of a processor; 100 ms per page and 20 ms per write \
         of waiting; SQS in requests of 64 KiB; DynamoDB on demand. The processor of this machine stands for Lambda's. \
         The Python function keeps no checkpoints.",
        &["function", "Lambda", "SQS", "state table", "together"],
    );
    let rows = [
        (
            "records fetched, subscriber",
            fetch(fetched, fetched.ours, fetched.received.state_writes),
        ),
        (
            "records fetched, Python function",
            fetch(fetched, fetched.python, 0),
        ),
        (
            "writes, publisher",
            publish(published, published.ours, published.state_writes[0]),
        ),
        (
            "writes, Python function",
            publish(published, published.python, published.state_writes[1]),
        ),
    ];
    for (name, Cost { lambda, sqs, state }) in rows {
        let dollars = [lambda, sqs, state, lambda + sqs + state].map(|cost| format!("${cost:.4}"));
        table.row([vec![name.to_owned()], dollars.to_vec()].concat());
    }
    table
}
