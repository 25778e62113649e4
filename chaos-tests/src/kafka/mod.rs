//! Kafka for tests: a real broker process (tansu's), and, for what that one can't do, a broker of this
//! harness that keeps transactions by the rules of Kafka's protocol.

pub mod broker;
mod client;
mod fill;
mod gate;
mod ledger;
mod tansu;
mod wire;

pub use client::{create_topic, read_all};
pub use fill::{create_topic_directly, produce};
pub use gate::Gate;
pub use tansu::Tansu;
