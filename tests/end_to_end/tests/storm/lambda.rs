//! The environments of both functions, and what the weather does to their invocations.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_sqs::config::{Credentials, Region};
use connector::aws::credentials::HttpClients;
use connector::aws::queue::Queue;
use connector::clock::Clock;
use connector::metrics::Metrics;
use connector::store::StateTable;
use serde_json::Value;
use serde_json::value::RawValue;
use subscriber::{Invocation, Subscriber};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{Instant, sleep, sleep_until};

use crate::protime::Interruption;
use crate::weather::{Event, Service};
use crate::wire::serve;
use crate::world::{CONTINUATIONS, PAGES, World};

pub(crate) const TABLE: &str = "state";
/// The timeout of the subscriber. It is longer than Lambda's wait before the first retry, so that the retry meets the
/// lease of an attempt that died.
pub(crate) const SUBSCRIBER_TIMEOUT: Duration = Duration::from_mins(2);

/// The origins of the services that all environments share.
pub(crate) struct Origins {
    pub(crate) sqs: String,
    pub(crate) dynamodb: String,
}

/// A Lambda environment with its function.
pub(crate) struct Environment<T> {
    number: usize,
    pub(crate) clock: Clock,
    pub(crate) function: T,
}

/// The environments of a function that wait for an invocation.
pub(crate) struct Pool<T>(RefCell<Vec<Rc<Environment<T>>>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Pool<T> {
    fn take(&self) -> Option<Rc<Environment<T>>> {
        self.0.borrow_mut().pop()
    }

    pub(crate) fn give_back(&self, environment: Rc<Environment<T>>) {
        self.0.borrow_mut().push(environment);
    }
}

/// The clients and metrics that both functions need.
pub(crate) struct Shared {
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) clients: HttpClients,
    pub(crate) metrics: Metrics,
}

/// How an invocation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    /// The answer says why nothing was done.
    Skipped(String),
    Failed,
}

impl World {
    /// An environment that waits, or a new one, whose function is made by `function`.
    pub(crate) async fn environment<T>(
        &self,
        waiting: &Pool<T>,
        name: &'static str,
        function: impl FnOnce(Shared) -> T,
    ) -> Rc<Environment<T>> {
        if let Some(environment) = waiting.take() {
            return environment;
        }
        let (number, clock) = self.weather.new_clock();
        let http = protime::http_client().expect("an HTTP client");
        let config = async |origin: &str| {
            let loader = connector::aws::http::config(http.clone());
            let loader = loader.region(Region::new("eu-west-1")).endpoint_url(origin);
            let credentials = Credentials::new("a", "b", None, None, "storm");
            loader.credentials_provider(credentials).load().await
        };
        let (services, weather) = (self.services.clone(), self.weather.clone());
        let secrets = serve(Service::Secrets, number, services, weather).await;
        let secrets = aws_sdk_secretsmanager::Client::new(&config(&secrets).await);
        let metrics = Metrics::new("storm", clock.clone(), std::io::sink());
        let observer = metrics.observer();
        let shared = Shared {
            sqs: aws_sdk_sqs::Client::new(&config(&self.origins.sqs).await),
            dynamodb: aws_sdk_dynamodb::Client::new(&config(&self.origins.dynamodb).await),
            clients: HttpClients::new(
                name,
                "protime/",
                secrets,
                http.clone(),
                observer,
                clock.clone(),
            ),
            metrics,
        };
        Rc::new(Environment {
            number,
            clock,
            function: function(shared),
        })
    }

    pub(crate) fn queue(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.origins.sqs)
    }

    /// Invokes the subscriber once, in an environment that waits or in a new one.
    pub(crate) async fn invoke(self: &Rc<Self>, request_id: &str, event: &str) -> End {
        let idle = &self.idle_subscribers;
        let new = |shared| self.subscriber(shared);
        let environment = self.environment(idle, "subscriber", new).await;
        let number = self.invocations.get();
        self.request_ids
            .borrow_mut()
            .insert(number, request_id.to_owned());
        let invocation = Invocation::new(request_id, &environment.clock, SUBSCRIBER_TIMEOUT);
        let event = RawValue::from_string(event.to_owned()).expect("JSON");
        let handled = Box::pin(environment.function.handle(&event, &invocation));
        let result = self.run_with_faults(&environment, SUBSCRIBER_TIMEOUT, handled);
        let Some(result) = result.await else {
            return End::Failed;
        };
        idle.give_back(environment.clone());
        ended(&result)
    }

    fn subscriber(&self, shared: Shared) -> Subscriber {
        Subscriber {
            clients: shared.clients,
            continuations: Queue::new(shared.sqs.clone(), self.queue(CONTINUATIONS)),
            sqs: shared.sqs,
            pages_queue: self.queue(PAGES),
            state: StateTable::new(shared.dynamodb, TABLE),
            metrics: shared.metrics,
            checkpoint_interval: Duration::ZERO,
        }
    }

    /// Runs an invocation as far as the weather lets it. Returns `None` if it dies or times out, which ends its
    /// environment too.
    pub(crate) async fn run_with_faults<F, T>(
        &self,
        environment: &Environment<F>,
        time: Duration,
        handled: impl Future<Output = T>,
    ) -> Option<T> {
        let number = self.invocations.get();
        self.invocations.set(number + 1);
        let (interruptions, mut ordered) = unbounded_channel();
        let protime = &self.services.protime;
        protime.begins(environment.number, number, interruptions.clone());
        for event in &self.weather.events {
            let (of, after, order) = match *event {
                Event::Kill { invocation, after } => (invocation, after, Interruption::Kill),
                Event::Freeze {
                    invocation,
                    after,
                    seconds,
                } => {
                    let long = Duration::from_secs(seconds.into());
                    (invocation, after, Interruption::Freeze(long))
                }
                _ => continue,
            };
            if u32::from(of) == number {
                let interruptions = interruptions.clone();
                tokio::task::spawn_local(async move {
                    sleep(Duration::from_millis(after.into())).await;
                    // The invocation may have ended before.
                    let _ = interruptions.send(order);
                });
            }
        }
        tokio::pin!(handled);
        let mut end = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                order = ordered.recv() => match order {
                    // Lambda's timeout does not run while the environment stands still.
                    Some(Interruption::Freeze(long)) => {
                        self.frozen.borrow_mut().insert(number);
                        sleep(long).await;
                        end += long;
                    }
                    Some(Interruption::Kill) | None => return None,
                },
                result = &mut handled => return Some(result),
                () = sleep_until(end) => return None,
            }
        }
    }
}

fn ended(result: &Result<Value, subscriber::Error>) -> End {
    match result {
        Ok(answer) => {
            let failures = answer["batchItemFailures"].as_array();
            let has_failed = failures.is_some_and(|failures| !failures.is_empty());
            match answer["reason"].as_str() {
                _ if has_failed => End::Failed,
                Some(reason) => End::Skipped(reason.to_owned()),
                None => End::Succeeded,
            }
        }
        Err(_) => End::Failed,
    }
}
