//! The AWS account of a storm. Schedules fire, Lambda and SQS retry by their rules, and environments die, stand still
//! and time out. Time is tokio's, which jumps to the next thing that happens.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use publisher::Publisher;
use serde_json::{Value, json};
use simulator::{Options, Simulator};
use subscriber::Subscriber;
use tokio::time::{Instant, sleep};

use crate::invariants;
use crate::lambda::{End, Origins, Pool, SUBSCRIBER_TIMEOUT};
use crate::protime::Protime;
use crate::sqs::Message;
use crate::weather::{Event, Service};
use crate::wire::{Services, Weather, client, serve};

pub(crate) const PEOPLE: u32 = 3;
pub(crate) const DAYS: u32 = 20;
const PAGE: usize = 6;
/// How long the weather lasts. No schedule fires after it.
pub(crate) const WEATHER: Duration = Duration::from_hours(2);
/// The time after the weather in which the watch and redelivery finish what has begun.
const REST: Duration = Duration::from_mins(50);
/// The time of rest after every schedule has fired once more.
const SECOND_REST: Duration = Duration::from_mins(40);
/// The interval between two checks for what is due.
const STEP: Duration = Duration::from_secs(2);
const RETRIES: u32 = 2;
pub(crate) const VISIBILITY: Duration = Duration::from_mins(12);
pub(crate) const MOST_RECEIVES: u32 = 5;
pub(crate) const PAGES: &str = "pages";
/// The FIFO queue for the pages of the connection `full`.
const PAGES_IN_ORDER: &str = "pages.fifo";
pub(crate) const CONTINUATIONS: &str = "continuations";

/// The `fields` of the connections `delta` and `people`. The connection `full` has none, so it sends everything.
pub(crate) const FIELDS: [&str; 3] = ["person.id", "kind", "lastName"];

/// An incoming connection with its schedule.
pub(crate) struct Connection {
    pub(crate) name: &'static str,
    event: Value,
    every: Duration,
}

pub(crate) fn connections() -> [Connection; 4] {
    let filter = "date ge '2026-11-01' and date le '2026-11-20'";
    let of = |name, event, minutes| Connection {
        name,
        event,
        every: Duration::from_mins(minutes),
    };
    [
        of(
            "full",
            json!({"entity": "clockings", "window": "P7D", "concurrency": 2, "query": {"filter": filter}, "queue": PAGES_IN_ORDER}),
            30,
        ),
        of(
            "delta",
            json!({"entity": "clockings", "sync": "delta", "query": {"filter": "date ge '2026-11-01'"}, "fields": FIELDS}),
            30,
        ),
        of("people", json!({"entity": "people", "fields": FIELDS}), 60),
        // With so many chains, calls to SQS may overlap, if a fault holds one of them.
        of(
            "totals",
            json!({"entity": "calculated-totals", "window": "P1D", "concurrency": 16, "query": {"filter": filter}}),
            60,
        ),
    ]
}

pub(crate) struct World {
    pub(crate) services: Rc<Services>,
    pub(crate) weather: Rc<Weather>,
    pub(crate) protime: Simulator,
    /// The events that Lambda gave up after their retries, as the failure queue gets them.
    pub(crate) failed: RefCell<Vec<Value>>,
    /// The connections whose schedules fired, with the scheduled time.
    pub(crate) fired: RefCell<Vec<(&'static str, Timestamp)>>,
    /// The violation after the first rest, before the schedules fire once more.
    pub(crate) violation: RefCell<Option<String>>,
    http: reqwest::Client,
    pub(crate) origins: Origins,
    /// The environments that wait for an invocation.
    pub(crate) idle_subscribers: Pool<Subscriber>,
    pub(crate) idle_publishers: Pool<Publisher>,
    /// The number of events for asynchronous invocation, from which request ids are made.
    started: Cell<u32>,
    pub(crate) invocations: Cell<u32>,
    /// The numbers of the invocations that stood still.
    pub(crate) frozen: RefCell<BTreeSet<u32>>,
    /// The request ids of the subscriber's invocations, by the invocation's number.
    pub(crate) request_ids: RefCell<BTreeMap<u32, String>>,
    delivered: Cell<usize>,
    log: RefCell<Vec<Logged>>,
    watch: Every,
    change: Every,
    changes: Cell<u32>,
    /// The number of [`Event::ForgetDeltas`] that have happened.
    forgotten: Cell<usize>,
    /// The numbers of the publish requests that an operator has corrected and sent again.
    pub(crate) corrected: RefCell<BTreeSet<usize>>,
    /// The number of the producer's next publish request.
    pub(crate) produced: Cell<usize>,
}

/// An invocation of the subscriber for a connection.
struct Logged {
    incoming: String,
    request_id: String,
    started: Instant,
    ended: Option<Instant>,
}

/// Something that is due at a fixed interval, for the first time at once.
struct Every {
    next: Cell<Instant>,
    every: Duration,
}

impl Every {
    fn new(every: Duration) -> Self {
        let next = Cell::new(Instant::now());
        Self { next, every }
    }

    fn is_due(&self) -> bool {
        let next = self.next.get();
        let is_due = next <= Instant::now();
        if is_due {
            self.next.set(next + self.every);
        }
        is_due
    }
}

impl World {
    pub(crate) async fn new(events: Vec<Event>) -> Rc<Self> {
        let base: Timestamp = "2026-11-20T06:00:00Z".parse().expect("a time");
        let protime = Simulator::start(Options {
            people: PEOPLE,
            days: DAYS,
            now: Some(base),
            remember_requests: 0,
            ..Options::default()
        });
        let protime = protime.await.expect("the simulator starts");
        protime.configure(|settings| settings.page_size = PAGE);
        let weather = Rc::new(Weather::new(events, base));
        let services = Protime::new(protime.base_uri(), protime.secret_json());
        let services = Rc::new(Services::new(services));
        let serve = |service| serve(service, 0, services.clone(), weather.clone());
        let door = serve(Service::Protime).await;
        services.protime.door.set(door).expect("one door");
        let origins = Origins {
            sqs: serve(Service::Sqs).await,
            dynamodb: serve(Service::DynamoDb).await,
        };
        Rc::new(Self {
            services,
            weather,
            protime,
            failed: RefCell::default(),
            fired: RefCell::default(),
            violation: RefCell::default(),
            http: client(),
            origins,
            idle_subscribers: Pool::default(),
            idle_publishers: Pool::default(),
            started: Cell::new(0),
            invocations: Cell::new(0),
            frozen: RefCell::default(),
            request_ids: RefCell::default(),
            corrected: RefCell::default(),
            delivered: Cell::new(0),
            log: RefCell::default(),
            watch: Every::new(Duration::from_mins(15)),
            change: Every::new(Duration::from_mins(7)),
            changes: Cell::new(0),
            forgotten: Cell::new(0),
            produced: Cell::new(0),
        })
    }

    /// Runs the storm, then lets everything come to rest, twice.
    pub(crate) async fn pass(self: &Rc<Self>) {
        let schedules = connections().map(|connection| (Every::new(connection.every), connection));
        let end = self.weather.start + WEATHER;
        while Instant::now() < end {
            for (schedule, connection) in &schedules {
                if schedule.is_due() {
                    self.fire(connection);
                }
            }
            self.step().await;
        }
        self.weather.clear();
        self.rest(REST).await;
        let violation = match invariants::violated_at_rest(self) {
            None => invariants::unread(self).await,
            violation => violation,
        };
        *self.violation.borrow_mut() = violation;
        self.protime.configure(|settings| settings.page_size = PAGE);
        for connection in &connections() {
            self.fire(connection);
        }
        self.rest(SECOND_REST).await;
    }

    async fn rest(self: &Rc<Self>, long: Duration) {
        let end = Instant::now() + long;
        while Instant::now() < end {
            self.step().await;
        }
    }

    /// Does everything that is due, except for the schedules, and lets one [`STEP`] pass.
    async fn step(self: &Rc<Self>) {
        if self.watch.is_due() {
            self.start(&json!({"watch": true}).to_string(), 1);
        }
        // Changes end early enough that the last poll sees the last one.
        if self.weather.start.elapsed() < WEATHER + REST / 2 && self.change.is_due() {
            self.change().await;
        }
        self.forget_deltas();
        self.produce();
        self.correct();
        self.deliver_rings();
        self.deliver();
        self.deliver_publish_requests();
        sleep(STEP).await;
        self.weather.move_clocks();
        self.protime.set_now(self.weather.now());
    }

    /// Protime forgets its deltas when the weather says so.
    fn forget_deltas(&self) {
        let passed = self.weather.start.elapsed().as_secs();
        let due = self.weather.events.iter().filter(
            |event| matches!(**event, Event::ForgetDeltas { at } if u64::from(at) <= passed),
        );
        let due = due.count();
        if due > self.forgotten.replace(due) {
            self.protime.forget_deltas();
        }
    }

    /// A user of myProtime changes a clocking, or deletes one.
    async fn change(&self) {
        let number = self.changes.get() + 1;
        self.changes.set(number);
        let id = (number * 37 % (PEOPLE * DAYS * 2) + 1).to_string();
        let change = match number % 4 {
            0 => json!({"entity": "clockings", "id": id, "delete": true}),
            _ => json!({"entity": "clockings", "id": id, "set": {"isOpen": number}}),
        };
        let url = format!("{}/_simulator/changes", self.protime.base_uri());
        let request = self
            .http
            .clone()
            .post(url)
            .header("content-type", "application/json");
        let answer = request
            .body(change.to_string())
            .send()
            .await
            .expect("the simulator answers");
        assert!(answer.status().is_success());
        self.ring(number);
    }

    fn fire(self: &Rc<Self>, connection: &Connection) {
        let mut event = connection.event.clone();
        event["incoming"] = connection.name.into();
        event["client"] = "protime/acme".into();
        event["scheduled"] = self.weather.now().to_string().into();
        if let Some(queue) = event["queue"].as_str() {
            event["queue"] = self.queue(queue).into();
        }
        let event = event.to_string();
        let firing = self.fired.borrow().len();
        self.fired
            .borrow_mut()
            .push((connection.name, self.weather.now()));
        let of = |twice: fn(&Event) -> Option<u8>| {
            let firings = self.weather.events.iter().filter_map(twice);
            1 + firings
                .filter(|number| usize::from(*number) == firing)
                .count()
        };
        let fires = of(|event| match *event {
            Event::FireTwice { firing } => Some(firing),
            _ => None,
        });
        let deliveries = of(|event| match *event {
            Event::InvokeTwice { firing } => Some(firing),
            _ => None,
        });
        for _ in 0..fires {
            self.start(&event, deliveries);
        }
    }

    /// Starts an asynchronous invocation, `deliveries` times at once. Lambda retries each when it fails.
    fn start(self: &Rc<Self>, event: &str, deliveries: usize) {
        // Lambda gives each event a request id, which its retries share.
        let started = self.started.get();
        self.started.set(started + 1);
        for _ in 0..deliveries {
            let (world, event) = (self.clone(), event.to_owned());
            let request_id = format!("request-{started}");
            tokio::task::spawn_local(async move { world.attempts(&request_id, event).await });
        }
    }

    async fn attempts(self: &Rc<Self>, request_id: &str, event: String) {
        for attempt in 0..=RETRIES {
            let begun = self.log(&event, request_id);
            let end = self.invoke(request_id, &event).await;
            self.ended(begun, &end);
            if end != End::Failed {
                return;
            }
            sleep(Duration::from_mins(u64::from(attempt) + 1)).await;
        }
        let event = serde_json::from_str(&event).expect("JSON");
        self.failed.borrow_mut().push(event);
    }

    /// Logs that an invocation begins for the connection in `event`. Returns its place in the log.
    fn log(&self, event: &str, request_id: &str) -> usize {
        let event: Value = serde_json::from_str(event).expect("JSON");
        let mut log = self.log.borrow_mut();
        log.push(Logged {
            incoming: event["incoming"].to_string(),
            request_id: request_id.to_owned(),
            started: Instant::now(),
            ended: None,
        });
        log.len() - 1
    }

    /// Logs that an invocation has ended, and checks the reason that it gives for a skip. If the reason names another
    /// attempt, another invocation of the connection must have been running.
    fn ended(&self, place: usize, end: &End) {
        let now = Instant::now();
        let mut log = self.log.borrow_mut();
        log[place].ended = Some(now);
        let own = &log[place];
        let mut of_own_event = own.started;
        let since = match end {
            // If an invocation died, its lease lasts as long as the invocation could have lasted.
            End::Skipped(reason) if reason.starts_with("this run is under way") => {
                now - SUBSCRIBER_TIMEOUT
            }
            // Only if the invocation kept its time: after standing still, it may have lost its run to the watch.
            End::Skipped(reason)
                if reason.starts_with("the lease of connection")
                    && now - own.started <= SUBSCRIBER_TIMEOUT =>
            {
                // A request of another delivery of the event may take effect after that delivery has ended.
                of_own_event -= self.weather.latest_effect(Service::DynamoDb);
                own.started
            }
            _ => return,
        };
        let is_other = |(number, other): (usize, &Logged)| {
            // Lambda may deliver an event twice at once. Its retries come one after the other.
            let is_same = other.request_id == own.request_id;
            let since = if is_same { of_own_event } else { since };
            let was_at_work = other.ended.is_none_or(|ended| ended >= since);
            number != place && other.incoming == own.incoming && was_at_work
        };
        if !log.iter().enumerate().any(is_other) {
            let violation = format!("{}, {}: {end:?}", own.incoming, own.request_id);
            self.services
                .violation
                .borrow_mut()
                .get_or_insert(violation);
        }
    }

    /// Delivers what is visible in the continuation queue, by SQS's rules.
    fn deliver(self: &Rc<Self>) {
        loop {
            let received = self
                .services
                .sqs
                .borrow_mut()
                .receive(CONTINUATIONS, VISIBILITY);
            let Some(message) = received else { return };
            if message.received > MOST_RECEIVES {
                let deleted = self
                    .services
                    .sqs
                    .borrow_mut()
                    .delete(CONTINUATIONS, &message.id);
                let deleted = deleted.expect("it was there");
                self.services
                    .sqs
                    .borrow_mut()
                    .put("dead-continuations", &deleted.body);
                continue;
            }
            for time in 0..self.deliveries() {
                let (world, message) = (self.clone(), message.clone());
                tokio::task::spawn_local(async move {
                    let request_id = format!("{}-{}-{time}", message.id, message.received);
                    let begun = world.log(&message.body, &request_id);
                    let end = world.invoke(&request_id, &delivered(&message)).await;
                    world.ended(begun, &end);
                    if end != End::Failed {
                        world
                            .services
                            .sqs
                            .borrow_mut()
                            .delete(CONTINUATIONS, &message.id);
                    }
                });
            }
        }
    }

    /// How many times SQS makes its next delivery at once.
    pub(crate) fn deliveries(&self) -> usize {
        let delivery = self.delivered.get();
        self.delivered.set(delivery + 1);
        let again = self.weather.events.iter().filter(|event| {
            matches!(**event, Event::DeliverTwice { delivery: of } if usize::from(of) == delivery)
        });
        1 + again.count()
    }

    /// The messages that consumers find in the queues for pages, in the order in which SQS took them.
    pub(crate) fn pages(&self) -> Vec<Value> {
        let sqs = self.services.sqs.borrow();
        let messages = [PAGES, PAGES_IN_ORDER].map(|queue| sqs.messages(queue));
        let bodies = messages.into_iter().flatten().map(|message| &message.body);
        bodies
            .map(|body| serde_json::from_str(body).expect("an event"))
            .collect()
    }
}

/// The event with which SQS delivers a continuation.
fn delivered(message: &Message) -> String {
    json!({"Records": [{
        "messageId": message.id, "receiptHandle": message.id, "body": message.body, "messageAttributes": {},
        "attributes": {"ApproximateReceiveCount": message.received.to_string()},
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:continuations", "awsRegion": "eu-west-1",
    }]})
    .to_string()
}
