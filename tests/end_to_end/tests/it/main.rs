//! The deployed stack, seen from outside.

mod alarms;
mod crash;
mod delta;
mod earlier;
mod hand_over;
mod logs;
mod memory;
mod once;
mod publisher;
mod split;
mod subscriber;
mod watch;
