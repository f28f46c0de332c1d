//! A Protime API to develop and test against. It shares no code and no table with the connector's own client.
//!
//! It follows the documentation. What the documentation leaves open is a switch in [`Settings`]. Everything can be
//! changed while it runs, from Rust ([`Simulator`]) or over HTTP below `/_simulator/`.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use simulator::{Options, Simulator};
//!
//! let simulator = Simulator::start(Options { people: 3, ..Options::default() }).await?;
//! assert!(simulator.base_uri().starts_with("http://127.0.0.1:"));
//! # std::io::Result::Ok(())
//! # })?;
//! # std::io::Result::Ok(())
//! ```

mod answer;
mod auth;
mod constraint;
mod control;
mod data;
mod delta;
mod documentation;
mod fault;
mod filter;
mod list;
mod matching;
mod references;
mod route;
mod server;
mod settings;
mod state;
mod usage;
mod validation;
mod webhook;
mod write;

use std::io;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::{Action, Fault};
pub use settings::{Options, Settings, Spaces};
pub use state::LoggedRequest;

use server::{SharedState, lock};
use state::State;

/// A running simulator; it stops when dropped.
pub struct Simulator {
    state: SharedState,
    task: JoinHandle<()>,
}

impl Simulator {
    /// Starts listening. Records are made when they are first read.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::new(options, origin)));
        let task = tokio::spawn(server::serve(listener, state.clone()));
        Ok(Self { state, task })
    }

    /// The origin, such as `http://127.0.0.1:40123`.
    pub fn base_uri(&self) -> String {
        lock(&self.state).origin.clone()
    }

    /// The client as a secret for the connector, with all scopes.
    pub fn secret_json(&self) -> String {
        lock(&self.state).secret().to_string()
    }

    /// The requests so far, in order. [`Options::remember_requests`] limits their number.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        lock(&self.state).requests.iter().cloned().collect()
    }

    /// The number of token requests so far.
    pub fn token_requests(&self) -> u64 {
        lock(&self.state).token_requests
    }

    /// Makes matching requests fail.
    pub fn add_fault(&self, fault: Fault) {
        lock(&self.state).faults.push(fault);
    }

    /// Removes all faults, including those that have not occurred yet.
    pub fn clear_faults(&self) {
        lock(&self.state).faults.clear();
    }

    /// Changes settings while the simulator runs.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.state).settings);
    }

    /// Makes all tokens invalid.
    pub fn revoke_tokens(&self) {
        lock(&self.state).tokens.clear();
    }

    /// Forgets all deltas, so that the next poll of each is answered with 410.
    pub fn forget_deltas(&self) {
        lock(&self.state).deltas.clear();
    }

    /// Rotates the client's secret, which ends all tokens.
    pub fn rotate_client_secret(&self, secret: &str) {
        let mut state = lock(&self.state);
        secret.clone_into(&mut state.client_secret);
        state.tokens.clear();
    }

    /// Sets the time that the simulator takes for now.
    pub fn set_now(&self, now: Timestamp) {
        lock(&self.state).set_now(now);
    }

    /// Replaces the records of an entity with those of a JSON array, byte for byte.
    pub fn set_records(&self, entity: &str, json_array: &str) -> serde_json::Result<()> {
        let records: Vec<&RawValue> = serde_json::from_str(json_array)?;
        let collection = data::Collection::from_texts(records.iter().map(|record| record.get()));
        lock(&self.state).set_collection(entity, collection);
        Ok(())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}
