//! What goes wrong, as a list of events. The same seed makes the same list, and the list is all that a storm depends on.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Its reads, and its tokens.
    Protime,
    ProtimeWrites,
    Sqs,
    DynamoDb,
    Secrets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer comes after so many seconds.
    Delay(u8),
    Throttle,
    /// An error of the service, and nothing is done.
    Refuse,
    /// The connection breaks before anything is done.
    Drop,
    /// It takes effect, and the connection breaks before the answer.
    LoseAnswer,
    /// The connection breaks after so many seconds, and it takes effect so many seconds later.
    Late {
        breaks: u8,
        effect: u8,
    },
    /// A part of a batch is refused; of services without batches, nothing.
    Partial,
    /// Protime answers a read with 200 and without what was asked for; others as ever.
    Hollow,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// So many requests to a service, from that one on.
    Wire {
        service: Service,
        from: u16,
        times: u8,
        fault: Fault,
    },
    /// All requests to a service, from that second on, for so long.
    Outage {
        service: Service,
        from: u16,
        seconds: u16,
        fault: Fault,
    },
    /// The invocation of that number dies after so many milliseconds.
    Kill { invocation: u8, after: u16 },
    /// The invocation of that number stands still after so many milliseconds, for so many seconds.
    Freeze {
        invocation: u8,
        after: u16,
        seconds: u16,
    },
    /// Whoever sends Protime the write of that number stands still from then on, for so many seconds.
    FreezeAtWrite { write: u16, seconds: u16 },
    /// The schedule fires twice, that time.
    FireTwice { firing: u8 },
    /// Lambda delivers the schedule's event twice, under one request id.
    InvokeTwice { firing: u8 },
    /// A message is delivered twice at once, that time.
    DeliverTwice { delivery: u8 },
    /// The clock of the environment of that number is off from that second on, for so long, by so many seconds.
    Jump {
        environment: u8,
        from: u16,
        seconds: u16,
        by: i8,
    },
    /// Protime forgets its deltas at that second.
    ForgetDeltas { at: u16 },
}

/// Some requests of a service, of as many as a storm without weather has.
fn requests() -> impl Strategy<Value = (Service, u16)> {
    prop_oneof![
        3 => (0_u16..200).prop_map(|from| (Service::Protime, from)),
        3 => (0_u16..25).prop_map(|from| (Service::ProtimeWrites, from)),
        2 => (0_u16..200).prop_map(|from| (Service::Sqs, from)),
        4 => (0_u16..400).prop_map(|from| (Service::DynamoDb, from)),
        1 => (0_u16..8).prop_map(|from| (Service::Secrets, from)),
    ]
}

/// A write shows at most half a minute after its answer was lost: so long the publisher waits for it.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (1_u8..30).prop_map(Fault::Delay),
        1 => Just(Fault::Throttle),
        1 => Just(Fault::Refuse),
        1 => Just(Fault::Drop),
        3 => Just(Fault::LoseAnswer),
        2 => (0_u8..50, 1_u8..25).prop_map(|(breaks, effect)| Fault::Late { breaks, effect }),
        1 => Just(Fault::Partial),
        1 => Just(Fault::Hollow),
    ]
}

/// Some milliseconds of an invocation: those of the publisher are short.
fn after() -> impl Strategy<Value = u16> {
    prop_oneof![0_u16..1_000, 0_u16..60_000]
}

fn event() -> impl Strategy<Value = Event> {
    let environment = 0_u8..4;
    prop_oneof![
        5 => (requests(), 1_u8..12, fault()).prop_map(|((service, from), times, fault)| Event::Wire { service, from, times, fault }),
        1 => (requests(), 0_u16..6_000, 30_u16..1_500, fault()).prop_map(|((service, _), from, seconds, fault)| Event::Outage { service, from, seconds, fault }),
        3 => (0_u8..80, after()).prop_map(|(invocation, after)| Event::Kill { invocation, after }),
        3 => (0_u8..80, after(), 5_u16..1_500).prop_map(|(invocation, after, seconds)| Event::Freeze { invocation, after, seconds }),
        2 => (0_u16..30, 5_u16..1_500).prop_map(|(write, seconds)| Event::FreezeAtWrite { write, seconds }),
        1 => (0_u8..12).prop_map(|firing| Event::FireTwice { firing }),
        1 => (0_u8..12).prop_map(|firing| Event::InvokeTwice { firing }),
        1 => (0_u8..60).prop_map(|delivery| Event::DeliverTwice { delivery }),
        1 => (environment, 0_u16..6_000, 10_u16..600, -20_i8..20).prop_map(|(environment, from, seconds, by)| Event::Jump { environment, from, seconds, by }),
        1 => (0_u16..7_000).prop_map(|at| Event::ForgetDeltas { at }),
    ]
}

/// The weather of a seed, which can be made simpler.
pub(crate) fn of_seed(seed: u64) -> Box<dyn ValueTree<Value = Vec<Event>>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = vec(event(), 1..14).new_tree(&mut runner);
    Box::new(tree.expect("a list of events"))
}
