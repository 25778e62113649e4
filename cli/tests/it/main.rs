//! The program as scripts see it: verbs, options, exit codes, what is on stdout and stderr. Without a
//! cluster; what needs one is tested by the chaos tests.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod config;
mod examples;
mod generated;
mod offline;
mod program;
mod silent;
mod verbs;
