//! The documents that users write and read: incoming connections and page messages, outgoing connections and publish
//! requests.

pub mod cloud_event;
pub mod connection;
pub mod outgoing;
pub mod page_message;
pub mod parameters;
pub mod publish_request;
mod shape;

pub use shape::Members;
