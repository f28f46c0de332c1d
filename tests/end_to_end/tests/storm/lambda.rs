//! Environments of both functions, and how the weather treats their invocations.

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
use tokio::time::{sleep, timeout};

use crate::weather::{Event, Service};
use crate::wire::serve;
use crate::world::{CONTINUATIONS, PAGES, World};

pub(crate) const TABLE: &str = "state";
/// What Lambda gives an invocation of the subscriber, which hands over ten seconds before.
const SUBSCRIBER_TIME: Duration = Duration::from_secs(30);

/// Where all environments reach the services.
pub(crate) struct Origins {
    pub(crate) sqs: String,
    pub(crate) dynamodb: String,
}

/// An environment with its function.
pub(crate) struct Environment<T> {
    number: usize,
    pub(crate) clock: Clock,
    pub(crate) function: T,
}

/// Environments that wait for an invocation.
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

/// What the functions share.
pub(crate) struct Shared {
    pub(crate) sqs: aws_sdk_sqs::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) clients: HttpClients,
    pub(crate) metrics: Metrics,
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed,
}

impl World {
    /// An environment that waits, or a new one, whose function is made of what both share.
    pub(crate) async fn environment<T>(
        &self,
        waiting: &Pool<T>,
        name: &'static str,
        function: impl FnOnce(Shared) -> T,
    ) -> Rc<Environment<T>> {
        if let Some(environment) = waiting.take() {
            return environment;
        }
        let (number, clock) = self.sky.new_clock();
        let http = protime::http_client().expect("an HTTP client");
        let config = async |origin: &str| {
            let loader = connector::aws::http::config(http.clone());
            let loader = loader.region(Region::new("eu-west-1")).endpoint_url(origin);
            let credentials = Credentials::new("a", "b", None, None, "storm");
            loader.credentials_provider(credentials).load().await
        };
        let (services, sky) = (self.services.clone(), self.sky.clone());
        let secrets = serve(Service::Secrets, number, services, sky).await;
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

    /// One invocation of the subscriber, in an environment that waits or in a new one.
    pub(crate) async fn invoke(self: &Rc<Self>, request_id: &str, event: &str) -> End {
        let idle = &self.idle_subscribers;
        let new = |shared| self.subscriber(shared);
        let environment = self.environment(idle, "subscriber", new).await;
        let invocation = Invocation::new(request_id, &environment.clock, SUBSCRIBER_TIME);
        let event = RawValue::from_string(event.to_owned()).expect("JSON");
        let handled = Box::pin(environment.function.handle(&event, &invocation));
        let result = self.under_the_weather(&environment, SUBSCRIBER_TIME, handled);
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

    /// Lets an invocation run as far as the weather does. What dies, or is out of time, takes its environment with it.
    pub(crate) async fn under_the_weather<F, T>(
        &self,
        environment: &Environment<F>,
        time: Duration,
        handled: impl Future<Output = T>,
    ) -> Option<T> {
        let number = self.invocations.get();
        self.invocations.set(number + 1);
        self.services.protime.begins(environment.number, number);
        let find = |find: fn(&Event) -> Option<(u8, Duration, Duration)>| {
            let found = self.sky.events.iter().filter_map(find);
            let mut own = found.filter(|(invocation, ..)| u32::from(*invocation) == number);
            own.next().map(|(_, after, long)| (after, long))
        };
        let killed = find(|event| match *event {
            Event::Kill { invocation, after } => {
                let after = Duration::from_millis(after.into());
                Some((invocation, after, Duration::ZERO))
            }
            _ => None,
        });
        let frozen = find(|event| match *event {
            Event::Freeze {
                invocation,
                after,
                seconds,
            } => {
                let after = Duration::from_millis(after.into());
                Some((invocation, after, Duration::from_secs(seconds.into())))
            }
            _ => None,
        });
        tokio::pin!(handled);
        if let Some((after, long)) = frozen {
            if let Ok(result) = timeout(after, &mut handled).await {
                return Some(result);
            }
            sleep(long).await;
        }
        let time = killed.map_or(time, |(after, _)| after);
        timeout(time, &mut handled).await.ok()
    }
}

fn ended(result: &Result<Value, subscriber::Error>) -> End {
    match result {
        Ok(answer) => {
            let failures = answer["batchItemFailures"].as_array();
            if failures.is_none_or(Vec::is_empty) {
                End::Succeeded
            } else {
                End::Failed
            }
        }
        Err(_) => End::Failed,
    }
}
