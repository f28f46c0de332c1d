//! An account in which a storm passes: schedules fire, Lambda and SQS try again by their rules, environments die, stand
//! still and time out. Time is tokio's, which jumps to the next thing that happens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_sqs::config::{Credentials, Region};
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::metrics::Metrics;
use connector::store::StateTable;
use jiff::Timestamp;
use publisher::Publisher;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use simulator::{Options, Simulator};
use subscriber::{Invocation, Subscriber};
use tokio::time::{Instant, sleep, timeout};

use crate::sqs::Message;
use crate::weather::{Event, Service};
use crate::wire::{Services, Sky, client, serve};

pub(crate) const PEOPLE: u32 = 3;
pub(crate) const DAYS: u32 = 20;
/// How long the weather lasts, and how long everything goes on after it.
pub(crate) const WEATHER: Duration = Duration::from_hours(2);
const CALM: Duration = Duration::from_mins(100);
/// After the last schedule, only the watch and what is under way are left.
const REST: Duration = Duration::from_mins(50);
/// How often it is looked whether something is due.
const STEP: Duration = Duration::from_secs(2);
/// What Lambda gives an invocation.
pub(crate) const TIME: Duration = Duration::from_mins(1);
const RETRIES: u32 = 2;
pub(crate) const VISIBILITY: Duration = Duration::from_mins(6);
const MOST_RECEIVES: u32 = 5;
const PAGES: &str = "pages";
const CONTINUATIONS: &str = "continuations";
pub(crate) const TABLE: &str = "state";

/// An incoming connection with its schedule.
pub(crate) struct Connection {
    pub(crate) name: &'static str,
    event: Value,
    every: Duration,
}

pub(crate) fn connections() -> [Connection; 3] {
    let filter = "date ge '2026-11-01' and date le '2026-11-20'";
    let of = |name, event, minutes| Connection {
        name,
        event,
        every: Duration::from_mins(minutes),
    };
    [
        of(
            "full",
            json!({"entity": "clockings", "window": "P7D", "query": {"filter": filter}}),
            30,
        ),
        of(
            "delta",
            json!({"entity": "clockings", "sync": "delta", "query": {"filter": "date ge '2026-11-01'"}}),
            30,
        ),
        of("people", json!({"entity": "people"}), 60),
    ]
}

pub(crate) struct World {
    pub(crate) services: Rc<Services>,
    pub(crate) sky: Rc<Sky>,
    pub(crate) protime: Simulator,
    /// What was given up after its retries, as the failure queue gets it.
    pub(crate) failed: RefCell<Vec<Value>>,
    /// When which connection was due.
    pub(crate) fired: RefCell<Vec<(&'static str, Timestamp)>>,
    http: reqwest::Client,
    origins: Origins,
    /// Environments that wait for an invocation.
    idle: RefCell<Vec<Rc<Subscriber>>>,
    pub(crate) idle_publishers: RefCell<Vec<Rc<Publisher>>>,
    /// How many events were given to Lambda.
    started: Cell<u32>,
    invocations: Cell<u8>,
    deliveries: Cell<u8>,
    /// How many publish requests the producer has sent.
    pub(crate) produced: Cell<usize>,
}

/// The clients of an environment.
pub(crate) struct Aws {
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) http: protime::HttpPool,
}

struct Origins {
    protime: String,
    sqs: String,
    dynamodb: String,
    secrets: String,
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Failed,
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
        protime.configure(|settings| settings.page_size = 14);
        let services = Rc::new(Services::default());
        *services.protime.borrow_mut() = protime.base_uri();
        let sky = Rc::new(Sky::new(events, base));
        sky.move_clock();
        let serve = |service| serve(service, services.clone(), sky.clone());
        let origins = Origins {
            protime: serve(Service::Protime).await,
            sqs: serve(Service::Sqs).await,
            dynamodb: serve(Service::DynamoDb).await,
            secrets: serve(Service::Secrets).await,
        };
        let secret = protime
            .secret_json()
            .replace(&protime.base_uri(), &origins.protime);
        *services.secret.borrow_mut() = secret;
        Rc::new(Self {
            services,
            sky,
            protime,
            failed: RefCell::default(),
            fired: RefCell::default(),
            http: client(),
            origins,
            idle: RefCell::default(),
            idle_publishers: RefCell::default(),
            started: Cell::new(0),
            invocations: Cell::new(0),
            deliveries: Cell::new(0),
            produced: Cell::new(0),
        })
    }

    /// Lets the storm pass, and all come to rest.
    pub(crate) async fn pass(self: &Rc<Self>) {
        let end = self.sky.start + WEATHER + CALM + REST;
        let mut due: Vec<Instant> = connections().iter().map(|_| self.sky.start).collect();
        let mut watch = self.sky.start;
        let mut change = self.sky.start;
        let mut number = 0;
        while Instant::now() < end {
            let passed = self.sky.start.elapsed();
            if passed > WEATHER {
                self.sky.clear();
            }
            if passed < WEATHER + CALM {
                for (connection, due) in connections().into_iter().zip(&mut due) {
                    if *due <= Instant::now() {
                        *due += connection.every;
                        self.fire(&connection);
                    }
                }
            }
            if watch <= Instant::now() {
                watch += Duration::from_mins(15);
                self.start(json!({"watch": true}).to_string());
            }
            if change <= Instant::now() && passed < WEATHER + Duration::from_mins(40) {
                change += Duration::from_mins(7);
                number += 1;
                self.change(number).await;
            }
            self.produce();
            self.deliver();
            self.deliver_publish_requests();
            sleep(STEP).await;
            self.move_clocks();
        }
    }

    /// The functions' clock and Protime's go with tokio's.
    fn move_clocks(&self) {
        self.sky.move_clock();
        self.protime.set_now(self.sky.now());
    }

    /// A user of myProtime changes a clocking, or deletes one.
    async fn change(&self, number: u32) {
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
    }

    fn fire(self: &Rc<Self>, connection: &Connection) {
        let mut event = connection.event.clone();
        event["incoming"] = connection.name.into();
        event["client"] = "protime/acme".into();
        event["scheduled"] = self.sky.now().to_string().into();
        let firing = self.fired.borrow().len();
        self.fired
            .borrow_mut()
            .push((connection.name, self.sky.now()));
        self.start(event.to_string());
        let twice = |event: &Event| matches!(*event, Event::FireTwice { firing: of } if usize::from(of) == firing);
        if self.sky.events.iter().any(twice) {
            self.start(event.to_string());
        }
    }

    /// Starts an asynchronous invocation, which Lambda makes again when it fails.
    fn start(self: &Rc<Self>, event: String) {
        let world = self.clone();
        // Lambda gives each event an id of its own, which its retries share.
        let started = self.started.get();
        self.started.set(started + 1);
        let request_id = format!("request-{started}");
        tokio::task::spawn_local(async move {
            for attempt in 0..=RETRIES {
                if world.invoke(&request_id, &event).await == End::Succeeded {
                    return;
                }
                sleep(Duration::from_mins(u64::from(attempt) + 1)).await;
            }
            world
                .failed
                .borrow_mut()
                .push(serde_json::from_str(&event).expect("JSON"));
        });
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
            let delivery = self.next_delivery();
            let twice = |event: &Event| matches!(*event, Event::DeliverTwice { delivery: of } if of == delivery);
            let times = if self.sky.events.iter().any(twice) {
                2
            } else {
                1
            };
            for time in 0..times {
                let (world, message) = (self.clone(), message.clone());
                tokio::task::spawn_local(async move {
                    let request_id = format!("{}-{}-{time}", message.id, message.received);
                    if world.invoke(&request_id, &delivered(&message)).await == End::Succeeded {
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

    pub(crate) fn next_delivery(&self) -> u8 {
        let delivery = self.deliveries.get();
        self.deliveries.set(delivery.saturating_add(1));
        delivery
    }

    /// One invocation of the subscriber, in an environment that waits or in a new one.
    async fn invoke(self: &Rc<Self>, request_id: &str, event: &str) -> End {
        let waiting = self.idle.borrow_mut().pop();
        let environment = match waiting {
            Some(environment) => environment,
            None => Rc::new(self.environment().await),
        };
        let invocation = Invocation::new(request_id, &self.sky.clock, TIME);
        let event = RawValue::from_string(event.to_owned()).expect("JSON");
        let handled = Box::pin(environment.handle(&event, &invocation));
        let Some(result) = self.under_the_weather(handled).await else {
            return End::Failed;
        };
        self.idle.borrow_mut().push(environment.clone());
        ended(&result)
    }

    /// Lets an invocation run as far as the weather does. What dies, or is out of time, takes its environment with it.
    pub(crate) async fn under_the_weather<T>(&self, handled: impl Future<Output = T>) -> Option<T> {
        let number = self.invocations.get();
        self.invocations.set(number.saturating_add(1));
        let (mut killed, mut frozen) = (None, None);
        for event in &self.sky.events {
            match *event {
                Event::Kill { invocation, after } if invocation == number => {
                    killed = Some(Duration::from_millis(after.into()));
                }
                Event::Freeze {
                    invocation,
                    after,
                    seconds,
                } if invocation == number => {
                    frozen = Some((
                        Duration::from_millis(after.into()),
                        Duration::from_secs(seconds.into()),
                    ));
                }
                _ => {}
            }
        }
        tokio::pin!(handled);
        if let Some((after, long)) = frozen {
            if let Ok(result) = timeout(after, &mut handled).await {
                return Some(result);
            }
            sleep(long).await;
        }
        timeout(killed.unwrap_or(TIME), &mut handled).await.ok()
    }

    /// How an environment reaches the services.
    pub(crate) async fn aws(&self) -> Aws {
        let http = protime::http_client().expect("an HTTP client");
        let config = |origin: &str| {
            let loader = connector::aws::http::config(http.clone());
            let loader = loader.region(Region::new("eu-west-1")).endpoint_url(origin);
            loader
                .credentials_provider(Credentials::new("a", "b", None, None, "storm"))
                .load()
        };
        Aws {
            sqs: aws_sdk_sqs::Client::new(&config(&self.origins.sqs).await),
            dynamodb: aws_sdk_dynamodb::Client::new(&config(&self.origins.dynamodb).await),
            secrets: aws_sdk_secretsmanager::Client::new(&config(&self.origins.secrets).await),
            http,
        }
    }

    pub(crate) fn queue(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.origins.sqs)
    }

    async fn environment(&self) -> Subscriber {
        let Aws {
            sqs,
            dynamodb,
            secrets,
            http,
        } = self.aws().await;
        let clock = self.sky.clock.clone();
        let metrics = Metrics::new("storm", clock.clone(), std::io::sink());
        let observer = metrics.observer();
        Subscriber {
            clients: HttpClients::new("subscriber", "protime/", secrets, http, observer, clock),
            continuations: Queue::new(sqs.clone(), self.queue(CONTINUATIONS)),
            sqs,
            pages_queue: self.queue(PAGES),
            state: StateTable::new(dynamodb, TABLE),
            metrics,
            checkpoint_interval: Duration::ZERO,
        }
    }

    /// What consumers find in the pages queue, in the order in which SQS took it.
    pub(crate) fn pages(&self) -> Vec<Value> {
        let sqs = self.services.sqs.borrow();
        let bodies = sqs
            .messages(PAGES)
            .iter()
            .map(|message| message.body.as_str());
        bodies
            .map(|body| serde_json::from_str(body).expect("an event"))
            .collect()
    }
}

fn ended(result: &Result<Value, subscriber::Error>) -> End {
    match result {
        Ok(answer)
            if answer["batchItemFailures"]
                .as_array()
                .is_none_or(Vec::is_empty) =>
        {
            End::Succeeded
        }
        _ => End::Failed,
    }
}

/// The event by which SQS delivers a message.
fn delivered(message: &Message) -> String {
    json!({"Records": [{
        "messageId": message.id, "receiptHandle": message.id, "body": message.body, "messageAttributes": {},
        "attributes": {"ApproximateReceiveCount": message.received.to_string()},
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:continuations", "awsRegion": "eu-west-1",
    }]})
    .to_string()
}
