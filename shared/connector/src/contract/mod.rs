//! What users write and read: incoming connections and page messages.

pub mod connection;
pub mod page_message;
