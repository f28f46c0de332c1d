//! What is made while a function already asks for its first event.

use std::sync::{Arc, LazyLock};
use std::thread;

/// Makes something on a thread of its own; whoever needs it before it is there waits for it.
///
/// The clients of the AWS SDK take most of a start: each reads a table of all regions when it is made.
pub fn make<T: Send + Sync + 'static>(
    init: impl FnOnce() -> T + Send + 'static,
) -> Arc<LazyLock<T, impl FnOnce() -> T>> {
    let value = Arc::new(LazyLock::new(init));
    let early = Arc::clone(&value);
    // Without a thread, it is made when it is needed.
    let _ = thread::Builder::new().spawn(move || {
        LazyLock::force(&early);
    });
    value
}
