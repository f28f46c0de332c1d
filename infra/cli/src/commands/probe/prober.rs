//! Sends one request at a time, at a gentle pace, and stops when Protime refuses too often.

use std::time::Duration;

use protime::catalogue::catalogue;
use protime::{Client, Error as Failure, HeaderMap, HeaderValue, RawAnswer, RawRead, Settings};
use tokio::time::{Instant, sleep_until};

use super::ask::{Answer, Ask, Reply, Variation};
use super::known::{TokenFacts, Traffic};
use crate::error::Error;

/// The time that Protime has for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// The limit of an answer, in bytes.
const LARGEST_ANSWER: usize = 32 << 20;
/// The probe stops after this many 429 answers or missing answers.
const MOST_FAILURES: u32 = 3;
/// How often requests may be repeated after a 429, all together.
pub(super) const MOST_REPEATS: usize = MOST_FAILURES as usize - 1;
const NO_SUCH_SCOPE: &str = "no-such-collection.read";
/// The probe waits no longer than this; a longer `Retry-After` stops it.
const LONGEST_WAIT: Duration = Duration::from_mins(2);
/// The wait after a 429 without `Retry-After`.
const USUAL_WAIT: Duration = Duration::from_secs(10);

pub(super) struct Prober {
    client: Client,
    /// A client with one scope only. `None` if the secret has no read scope.
    narrow: Option<Client>,
    /// A client with one scope, which does not exist.
    unknown: Client,
    user_agent: HeaderValue,
    pause: Duration,
    next: Instant,
    /// Consecutive requests without an answer.
    unanswered: u32,
    stopped: Option<String>,
    pub(super) traffic: Traffic,
}

impl Prober {
    pub(super) fn new(settings: &Settings, secret: &str, per_second: u32) -> Result<Self, Error> {
        let http = protime::http_client().and_then(|http| http.undecoded());
        let http = http.map_err(|error| Error::Other(error.to_string()))?;
        let with_scopes = |scopes: Vec<String>| {
            let mut settings = settings.clone();
            settings.scopes = scopes;
            let client = Client::new(http.clone(), settings.clone(), Box::new(settings));
            client
                .with_settings_name(format!("secret `{secret}`"))
                .with_largest_answer(LARGEST_ANSWER)
        };
        let scopes = &settings.scopes;
        Ok(Self {
            client: with_scopes(scopes.clone()),
            narrow: narrow_scope(scopes).map(|scope| with_scopes(vec![scope.clone()])),
            unknown: with_scopes(vec![format!(
                "{}{NO_SUCH_SCOPE}",
                catalogue().scope_prefix()
            )]),
            user_agent: settings.user_agent.clone(),
            pause: Duration::from_secs(1) / per_second,
            next: Instant::now(),
            unanswered: 0,
            stopped: None,
            traffic: Traffic::default(),
        })
    }

    /// Asks for a token. Without one, the probe cannot ask anything.
    pub(super) async fn token_facts(&mut self) -> Result<TokenFacts, Error> {
        let asked = self.client.settings();
        let failed = |error: Failure| Error::Run(subscriber::Error::from(error));
        let life = self.client.token_life(deadline()).await.map_err(failed)?;
        let granted = self
            .client
            .granted_scopes(deadline())
            .await
            .map_err(failed)?;
        Ok(TokenFacts {
            life: life.map_or_else(
                || "not said".to_owned(),
                |life| format!("{} s", life.as_secs()),
            ),
            granted: granted.map_or_else(
                || "not said".to_owned(),
                |granted| {
                    let missing = asked.scopes.iter().filter(|scope| !granted.contains(scope));
                    let missing: Vec<&str> = missing.map(String::as_str).collect();
                    if missing.is_empty() {
                        "all".to_owned()
                    } else {
                        format!("all but {}", missing.join(", "))
                    }
                },
            ),
            unknown_scope: self.unknown_scope().await,
        })
    }

    /// Sends a request, unless it leads to a delta or the probe has stopped.
    pub(super) async fn ask(&mut self, ask: &Ask) -> Reply {
        let outcome = loop {
            if let Some(reason) = &self.stopped {
                break Err(format!("not asked: {reason}"));
            }
            // The probe asks for no delta, so no answer should link to one. If one does, the link is not followed.
            if ask.target.contains("delta") {
                break Err("not asked: it leads to a delta".to_owned());
            }
            sleep_until(self.next).await;
            let sent = self.send(ask).await;
            self.next = Instant::now() + self.pause;
            match sent {
                Ok(raw) if raw.status == 429 => self.slow_down(&raw),
                Ok(raw) => {
                    self.unanswered = 0;
                    break Ok(Answer::new(&raw));
                }
                Err(error) => {
                    self.unanswered += 1;
                    if self.unanswered >= MOST_FAILURES {
                        self.stopped = Some(format!("{MOST_FAILURES} requests in sequence failed"));
                    }
                    break Err(without_path(&error));
                }
            }
        };
        Reply {
            what: ask.what.clone(),
            entity: ask.entity,
            target: ask.target.clone(),
            outcome,
        }
    }

    async fn send(&mut self, ask: &Ask) -> Result<RawAnswer, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("application/json"));
        headers.insert("user-agent", self.user_agent.clone());
        let (mut client, mut asked) = (&self.client, None);
        match &ask.variation {
            Variation::Usual => {}
            Variation::Gzip => {
                headers.insert("accept-encoding", HeaderValue::from_static("gzip"));
            }
            Variation::WithoutUserAgent => {
                headers.remove("user-agent");
            }
            Variation::IfNoneMatch(etag) => {
                headers.insert("if-none-match", etag.clone());
            }
            Variation::NarrowToken => client = self.narrow.as_ref().unwrap_or(client),
            Variation::LinkIn(target) => asked = Some(target.as_str()),
        }
        let read = RawRead {
            target: &ask.target,
            asked,
            headers,
        };
        self.traffic.sent += 1;
        let raw = client.raw_read(read, deadline()).await?;
        let names = raw.headers.keys().map(ToString::to_string);
        self.traffic.headers.extend(names);
        Ok(raw)
    }

    /// After a 429: halves the pace, waits at least as long as Protime asks, and stops after too many.
    fn slow_down(&mut self, raw: &RawAnswer) {
        self.traffic.refused_for_rate += 1;
        let wait = raw.retry_after.unwrap_or(USUAL_WAIT);
        if self.traffic.refused_for_rate >= MOST_FAILURES {
            self.stopped = Some(format!(
                "Protime refused {MOST_FAILURES} requests for the rate"
            ));
        } else if wait > LONGEST_WAIT {
            self.stopped = Some(format!("Protime asks to wait for {} s", wait.as_secs()));
        }
        self.pause *= 2;
        self.next = Instant::now() + wait.max(self.pause);
    }

    /// How the token endpoint answers to a scope that does not exist.
    async fn unknown_scope(&self) -> String {
        match self.unknown.granted_scopes(deadline()).await {
            Ok(_) => "a token all the same".to_owned(),
            Err(Failure::ClientRejected { code, .. }) => format!("refused, {code}"),
            Err(Failure::TokenEndpoint { reason, .. }) => reason,
            Err(_) => "no answer".to_owned(),
        }
    }
}

/// The first read scope. With it alone, most lists cannot be read.
pub(super) fn narrow_scope(scopes: &[String]) -> Option<&String> {
    let reads = |scope: &&String| matches!(scope.rsplit_once('.'), Some((_, "read")));
    scopes.iter().find(reads)
}

fn deadline() -> Instant {
    Instant::now() + ANSWER_TIMEOUT
}

/// An error's own text contains the path, which can hold ids of records.
fn without_path(error: &Failure) -> String {
    match error {
        Failure::Transport { reason, .. } => format!("no answer: {reason}"),
        Failure::TooLarge { limit, .. } => format!("more than {} MiB", limit >> 20),
        Failure::Link(_) => "the link leads elsewhere, or is none".to_owned(),
        Failure::ClientRejected { code, .. } => format!("no token: {code}"),
        _ => "no token".to_owned(),
    }
}
