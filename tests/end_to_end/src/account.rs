//! An AWS account in which days pass. Schedules run, Lambda and SQS retry, and queues are measured. `CloudWatch` tells
//! which alarms of the template were raised.

use std::time::Duration;

use aws_sdk_sqs::types::Message;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use template::{Alarm, CloudWatch, Template};

use crate::fake_queue::FakeQueue;
use crate::in_process_subscriber::InProcessSubscriber;

/// The step in which the time moves.
const STEP: SignedDuration = SignedDuration::from_mins(5);
const WATCH_EVERY: SignedDuration = SignedDuration::from_mins(15);
/// The time limit of one invocation.
const TIME: Duration = Duration::from_mins(1);
/// How often Lambda retries an asynchronous invocation (`MaximumRetryAttempts`).
const RETRIES: u32 = 2;
/// How often SQS delivers a continuation (`maxReceiveCount`).
const RECEIVES: u32 = 5;

/// A schedule of an incoming connection.
struct Schedule {
    event: Value,
    next: Timestamp,
    every: SignedDuration,
}

/// An invocation of the subscriber that is due.
struct Invocation {
    request_id: String,
    event: String,
    failures: u32,
}

/// The account's functions, queues and metrics, at a time that the test moves.
pub struct Account {
    /// The subscriber and its tenant.
    pub local: InProcessSubscriber,
    /// The publisher and its queue, if the test has one.
    pub queue: Option<FakeQueue>,
    /// The metrics of the functions and of AWS.
    pub cloudwatch: CloudWatch,
    /// The account's time, which only [`Self::advance`] moves.
    pub now: Timestamp,
    /// Whether the watch's schedule is enabled.
    pub is_watched: bool,
    /// The generation of each continuation that was sent, and the time.
    pub continuations: Vec<(u64, Timestamp)>,
    /// The time at which the account began.
    pub start: Timestamp,
    alarms: Vec<Alarm>,
    schedules: Vec<Schedule>,
    invocations: Vec<Invocation>,
    waiting: Vec<(Message, u32)>,
    failure_queue: u32,
    dead_continuations: u32,
    read: [usize; 2],
    number: u32,
}

impl Account {
    /// An account with this subscriber. Only the watch is scheduled.
    pub fn new(local: InProcessSubscriber) -> Self {
        let seconds = Timestamp::now().as_second();
        let start = Timestamp::from_second(seconds - seconds.rem_euclid(900)).expect("a time");
        Self {
            local,
            queue: None,
            cloudwatch: CloudWatch::default(),
            now: start,
            is_watched: true,
            continuations: Vec::new(),
            start,
            alarms: Template::load().alarms(),
            schedules: Vec::new(),
            invocations: Vec::new(),
            waiting: Vec::new(),
            failure_queue: 0,
            dead_continuations: 0,
            read: [0; 2],
            number: 0,
        }
    }

    /// Adds a schedule that runs a connection at an interval of `every`.
    pub fn schedule(&mut self, connection: &Value, every: SignedDuration) {
        let event = serde_json::from_str(&self.local.event(connection)).expect("JSON");
        self.schedules.push(Schedule {
            event,
            next: self.now + STEP,
            every,
        });
    }

    /// Disables all schedules except the watch's.
    pub fn disable_schedules(&mut self) {
        self.schedules.clear();
    }

    /// Lets time pass, with everything that is due in it.
    pub async fn advance(&mut self, time: SignedDuration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.step().await;
        }
    }

    /// The alarms that were raised at any time so far.
    pub fn raised(&self) -> Vec<String> {
        self.cloudwatch.raised(&self.alarms, self.start, self.now)
    }

    /// The alarms that are raised now.
    pub fn in_alarm(&self) -> Vec<String> {
        self.cloudwatch.in_alarm(&self.alarms, self.now)
    }

    async fn step(&mut self) {
        self.retry().await;
        let mut due = Vec::new();
        for schedule in &mut self.schedules {
            if schedule.next <= self.now {
                let mut event = schedule.event.clone();
                event["scheduled"] = schedule.next.to_string().into();
                schedule.next += schedule.every;
                due.push(event.to_string());
            }
        }
        for event in due {
            self.number += 1;
            let request_id = format!("scheduled-{}", self.number);
            self.invoke(Invocation {
                request_id,
                event,
                failures: 0,
            })
            .await;
        }
        let since = self.now.duration_since(self.start).as_secs();
        if self.is_watched && since % WATCH_EVERY.as_secs() == 0 {
            let result = self.local.watch(self.now).await;
            self.errors("Subscriber", result.is_err());
        }
        self.deliver_continuations().await;
        self.publish().await;
        self.measure();
        self.read_metrics();
    }

    async fn retry(&mut self) {
        for invocation in std::mem::take(&mut self.invocations) {
            self.invoke(invocation).await;
        }
    }

    async fn invoke(&mut self, invocation: Invocation) {
        let Invocation {
            request_id, event, ..
        } = &invocation;
        let result = self
            .local
            .handle_as(request_id, event.clone(), self.now, TIME)
            .await;
        self.errors("Subscriber", result.is_err());
        if result.is_err() {
            if invocation.failures == RETRIES {
                self.failure_queue += 1;
            } else {
                self.invocations.push(Invocation {
                    failures: invocation.failures + 1,
                    ..invocation
                });
            }
        }
    }

    async fn deliver_continuations(&mut self) {
        let queue = &self.local.continuations;
        for message in self.local.tenant.stack.drain(queue).await {
            let body: Value = serde_json::from_str(message.body().expect("a body")).expect("JSON");
            let generation = body["generation"].as_u64().expect("a generation");
            self.continuations.push((generation, self.now));
            self.waiting.push((message, 0));
        }
        for (message, received) in std::mem::take(&mut self.waiting) {
            let delivery = InProcessSubscriber::delivery(&message);
            let result = self.local.handle(delivery, self.now, TIME).await;
            self.errors("Subscriber", result.is_err());
            match result {
                Ok(_) => {}
                Err(_) if received + 1 == RECEIVES => self.dead_continuations += 1,
                Err(_) => self.waiting.push((message, received + 1)),
            }
        }
    }

    async fn publish(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.now = self.now;
            queue.deliver().await;
        }
    }

    fn errors(&mut self, function: &str, failed: bool) {
        let value = f64::from(u8::from(failed));
        self.cloudwatch.measure("Errors", function, self.now, value);
    }

    fn measure(&mut self) {
        let visible = "ApproximateNumberOfMessagesVisible";
        let parked = self.queue.as_ref().map_or(0, |queue| queue.parked().len());
        let waiting = self.queue.as_ref().map_or(0, FakeQueue::len);
        let counts = [
            ("PublishQueue", u32::try_from(waiting).expect("a count")),
            ("SubscriberFailureQueue", self.failure_queue),
            ("ContinuationDeadLetterQueue", self.dead_continuations),
            (
                "PublishDeadLetterQueue",
                u32::try_from(parked).expect("a count"),
            ),
        ];
        for (queue, count) in counts {
            let count = f64::from(count);
            self.cloudwatch.measure(visible, queue, self.now, count);
        }
        let oldest = self.queue.as_ref().and_then(FakeQueue::oldest);
        let age = oldest.unwrap_or_default().as_secs_f64();
        let metric = "ApproximateAgeOfOldestMessage";
        self.cloudwatch
            .measure(metric, "PublishQueue", self.now, age);
    }

    fn read_metrics(&mut self) {
        let publisher = self.queue.as_ref().map(|queue| &queue.metrics);
        let sources = [Some(&self.local.metrics), publisher];
        for (metrics, read) in sources.into_iter().zip(&mut self.read) {
            for line in metrics
                .map(|metrics| metrics.lines_after(*read))
                .unwrap_or_default()
            {
                self.cloudwatch.log(&line);
                *read += 1;
            }
        }
    }
}
