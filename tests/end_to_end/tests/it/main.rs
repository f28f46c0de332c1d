//! The deployed stack, seen from outside.

mod logs;
mod memory;
mod publisher;
mod subscriber;
