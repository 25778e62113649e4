//! The proving ground: real processes, real signals, real files, and nothing of the inside.
//!
//! Everything here goes through the `regent` binary, its `cluster.json`, its JSON documents and its
//! exit codes, as an operator's script would. What the output must be is computed a second time, plainly.
//!
//! | module | is |
//! | --- | --- |
//! | [`cluster`] | a `regent local`, its processes, and ways to hurt them |
//! | [`command`] | one run of the binary, with a deadline |
//! | [`manifest`] | `cluster.json` |
//! | [`jobs`] | job files, and jobs as they are seen from outside |
//! | [`reference`](mod@reference) | what plain, single-threaded code computes from the same files |
//! | [`output`] | what a files sink committed, compared with that |
//! | [`failpoints`] | processes that hurt themselves at a named moment |
//! | [`wait`] | bounded waiting, and the time each phase took |
//! | [`mutants`] | rules taken out of the code, and the tests that must notice |
//! | [`knobs`] | the environment variables |
//!
//! A failure panics with what was expected and what was found: this crate is for tests only.

pub mod cluster;
pub mod command;
pub mod failpoints;
pub mod jobs;
pub mod knobs;
pub mod manifest;
pub mod mutants;
pub mod output;
pub mod ports;
pub mod reference;
pub mod signals;
pub mod wait;
