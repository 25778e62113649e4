//! The proving ground: real processes, real signals, real files, and nothing of the inside.
//!
//! Everything here goes through the `regent` binary, its `cluster.json`, its JSON documents and its
//! exit codes, as an operator's script would; where a process of its own would blur a measurement, through the
//! client API. What the output must be is computed a second time, plainly.
//!
//! | module | is |
//! | --- | --- |
//! | [`cleanup`] | what is left to clean, files that can't be removed, the store by name |
//! | [`cluster`] | a `regent local`, its processes, and ways to hurt them |
//! | [`by_hand`] | processes of it that nobody looks after |
//! | [`group`] | JobManagers started by hand, and a client that writes all the while |
//! | [`command`] | one run of the binary, with a deadline |
//! | [`assembly`] | a cluster of processes started one by one, whose replicas talk through a proxy |
//! | [`proxy`] | connections between named processes that can be cut, mended and reset |
//! | [`client`] | a client that is connected already, and pages of figures |
//! | [`manifest`] | `cluster.json` |
//! | [`jobs`] | job files, and jobs as they are seen from outside |
//! | [`reference`](mod@reference) | what plain, single-threaded code computes from the same files |
//! | [`output`] | what a files sink committed, compared with that |
//! | [`failpoints`] | processes that hurt themselves at a named moment |
//! | [`s3`] | an S3 server, and a proxy that makes it fail |
//! | `kafka` | Kafka brokers: a real one, and one that keeps transactions (feature `kafka`) |
//! | [`sequences`] | jobs over numbered rows, each of whose results is known |
//! | [`unharmed`] | what must hold of a cluster after any fault |
//! | [`measure`] | durations, and the file they are collected in |
//! | [`table`] | that file as a section of a document |
//! | [`wait`] | bounded waiting, and the time each phase took |
//! | [`mutants`] | rules taken out of the code, and the tests that must notice |
//! | [`knobs`] | the environment variables |
//!
//! A failure panics with what was expected and what was found: this crate is for tests only.

pub mod assembly;
pub mod by_hand;
pub mod cleanup;
pub mod client;
pub mod cluster;
pub mod command;
pub mod failpoints;
pub mod group;
pub mod jobs;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod knobs;
mod logs;
pub mod manifest;
pub mod measure;
pub mod mutants;
pub mod output;
pub mod proxy;
pub mod reference;
pub mod s3;
pub mod sequences;
pub mod signals;
pub mod table;
pub mod unharmed;
pub mod wait;
