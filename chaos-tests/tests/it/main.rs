//! Real clusters, really hurt. A few rounds of each test by default, full counts with REGENT_SOAK=1;
//! see `regent_chaos::knobs`. Run with `--test-threads=2` at most: each test is a cluster.

mod bad_input;
mod bad_rows;
mod bad_start;
mod calm;
mod cleanup_verbs;
mod demo;
mod disk;
mod drills;
mod edges;
mod explain;
mod failover;
mod frozen;
mod leader_kill;
mod lifecycle;
mod operations;
mod past;
mod quorum;
mod same_id;
mod savepoints;
mod steps;
mod takeover;
mod windows;
mod worker_kill;
mod worker_loss;
mod year;
