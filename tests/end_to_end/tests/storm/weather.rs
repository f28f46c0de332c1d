//! What goes wrong, as a list of events. The same seed makes the same list, and the list is all that a storm depends on.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Protime,
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
    /// A part of a batch is refused; of others than SQS, nothing.
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
    /// The schedule fires twice, that time.
    FireTwice { firing: u8 },
    /// A message is delivered twice at once, that time.
    DeliverTwice { delivery: u8 },
    /// The functions' clocks are off from that second on, for so long, by so many seconds.
    Jump { from: u16, seconds: u16, by: i8 },
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        3 => Just(Service::Protime),
        2 => Just(Service::Sqs),
        3 => Just(Service::DynamoDb),
        1 => Just(Service::Secrets),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => (1_u8..45).prop_map(Fault::Delay),
        1 => Just(Fault::Throttle),
        1 => Just(Fault::Refuse),
        1 => Just(Fault::Drop),
        3 => Just(Fault::LoseAnswer),
        1 => Just(Fault::Partial),
        1 => Just(Fault::Hollow),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (service(), 0_u16..120, 1_u8..12, fault()).prop_map(|(service, from, times, fault)| Event::Wire { service, from, times, fault }),
        1 => (service(), 0_u16..6_000, 30_u16..1_500, fault()).prop_map(|(service, from, seconds, fault)| Event::Outage { service, from, seconds, fault }),
        3 => (0_u8..20, 0_u16..4_000).prop_map(|(invocation, after)| Event::Kill { invocation, after }),
        1 => (0_u8..20, 0_u16..4_000, 10_u16..1_200).prop_map(|(invocation, after, seconds)| Event::Freeze { invocation, after, seconds }),
        1 => (0_u8..12).prop_map(|firing| Event::FireTwice { firing }),
        1 => (0_u8..8).prop_map(|delivery| Event::DeliverTwice { delivery }),
        1 => (0_u16..6_000, 10_u16..600, -20_i8..20).prop_map(|(from, seconds, by)| Event::Jump { from, seconds, by }),
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
