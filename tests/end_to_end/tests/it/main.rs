//! The deployed stack, seen from outside.

mod alarms;
mod answers;
mod crash;
mod delta;
mod earlier;
mod hand_over;
mod heal;
mod logs;
mod many;
mod memory;
mod mistakes;
mod once;
mod operator;
mod protimectl;
mod publisher;
mod screens;
mod split;
mod subscriber;
mod watch;
mod writes;
