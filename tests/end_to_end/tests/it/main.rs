//! The deployed stack, seen from outside.

mod crash;
mod delta;
mod hand_over;
mod logs;
mod memory;
mod once;
mod publisher;
mod split;
mod subscriber;
