//! The weather: a list of events that go wrong. The same seed makes the same list. A storm depends on this list only,
//! but for the order of simultaneous answers.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Protime's reads, and its token endpoint.
    Protime,
    ProtimeWrites,
    Sqs,
    DynamoDb,
    Secrets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer comes after this many seconds.
    Delay(u8),
    Throttle,
    /// The service answers with an error and does nothing.
    Refuse,
    /// The connection breaks before the service does anything.
    Drop,
    /// The request takes effect, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks after `breaks` seconds. The request takes effect `effect` seconds later.
    Late {
        breaks: u8,
        effect: u8,
    },
    /// The service refuses part of a batch. Services without batches refuse nothing.
    Partial,
    /// Protime answers a GET with 200 and an empty object. Nothing else is affected.
    EmptyObject,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The fault hits `times` requests to a service, from request number `from` on.
    RequestFaults {
        service: Service,
        from: u16,
        times: u8,
        fault: Fault,
    },
    /// The fault hits all requests to a service for `seconds` seconds, from second `from` on.
    Outage {
        service: Service,
        from: u16,
        seconds: u16,
        fault: Fault,
    },
    /// An invocation, by its number, dies after `after` milliseconds.
    Kill { invocation: u8, after: u16 },
    /// An invocation, by its number, stands still after `after` milliseconds, for `seconds` seconds.
    Freeze {
        invocation: u8,
        after: u16,
        seconds: u16,
    },
    /// The invocation that sends write number `write` to Protime then stands still for `seconds` seconds.
    FreezeAtWrite { write: u16, seconds: u16 },
    /// A schedule fires twice, at its firing of this number.
    FireTwice { firing: u8 },
    /// Lambda delivers a schedule's event twice, with one request id.
    InvokeTwice { firing: u8 },
    /// SQS makes the delivery of this number twice at once.
    DeliverTwice { delivery: u8 },
    /// The clock of an environment, by its number, is off by `by` seconds. This begins at second `from` and lasts
    /// `seconds` seconds.
    ClockSkew {
        environment: u8,
        from: u16,
        seconds: u16,
        by: i8,
    },
    /// Protime forgets its deltas at second `at`.
    ForgetDeltas { at: u16 },
}

/// A service and the number of a request, within about as many requests as a storm in fair weather has.
fn requests() -> impl Strategy<Value = (Service, u16)> {
    prop_oneof![
        3 => (0_u16..200).prop_map(|from| (Service::Protime, from)),
        3 => (0_u16..25).prop_map(|from| (Service::ProtimeWrites, from)),
        2 => (0_u16..200).prop_map(|from| (Service::Sqs, from)),
        4 => (0_u16..400).prop_map(|from| (Service::DynamoDb, from)),
        1 => (0_u16..8).prop_map(|from| (Service::Secrets, from)),
    ]
}

/// A late write takes effect within half a minute after its answer was lost. The publisher waits that long for it.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (1_u8..30).prop_map(Fault::Delay),
        1 => Just(Fault::Throttle),
        1 => Just(Fault::Refuse),
        1 => Just(Fault::Drop),
        3 => Just(Fault::LoseAnswer),
        2 => (0_u8..50, 1_u8..25).prop_map(|(breaks, effect)| Fault::Late { breaks, effect }),
        1 => Just(Fault::Partial),
        1 => Just(Fault::EmptyObject),
    ]
}

/// Milliseconds since the start of an invocation. The publisher's invocations are short, so small values are frequent.
fn after() -> impl Strategy<Value = u16> {
    prop_oneof![0_u16..1_000, 0_u16..60_000]
}

fn event() -> impl Strategy<Value = Event> {
    let environment = 0_u8..4;
    prop_oneof![
        5 => (requests(), 1_u8..12, fault()).prop_map(|((service, from), times, fault)| Event::RequestFaults { service, from, times, fault }),
        1 => (requests(), 0_u16..6_000, 30_u16..1_500, fault()).prop_map(|((service, _), from, seconds, fault)| Event::Outage { service, from, seconds, fault }),
        3 => (0_u8..80, after()).prop_map(|(invocation, after)| Event::Kill { invocation, after }),
        3 => (0_u8..80, after(), 5_u16..1_500).prop_map(|(invocation, after, seconds)| Event::Freeze { invocation, after, seconds }),
        2 => (0_u16..30, 5_u16..1_500).prop_map(|(write, seconds)| Event::FreezeAtWrite { write, seconds }),
        1 => (0_u8..12).prop_map(|firing| Event::FireTwice { firing }),
        1 => (0_u8..12).prop_map(|firing| Event::InvokeTwice { firing }),
        1 => (0_u8..60).prop_map(|delivery| Event::DeliverTwice { delivery }),
        1 => (environment, 0_u16..6_000, 10_u16..600, -20_i8..20).prop_map(|(environment, from, seconds, by)| Event::ClockSkew { environment, from, seconds, by }),
        1 => (0_u16..7_000).prop_map(|at| Event::ForgetDeltas { at }),
    ]
}

/// The weather of a seed, which proptest can simplify.
pub(crate) fn of_seed(seed: u64) -> Box<dyn ValueTree<Value = Vec<Event>>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = vec(event(), 1..14).new_tree(&mut runner);
    Box::new(tree.expect("a list of events"))
}
