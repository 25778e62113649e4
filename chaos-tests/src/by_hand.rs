//! Processes of a cluster that the test starts itself, as an operator would: no supervisor starts them again, or
//! tells anybody that they have ended.

use std::fs::File;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::cluster::{Cluster, STOP_WITHIN};
use crate::command::{kill, wait_for};
use crate::signals;

/// What all of their command lines have in them.
const MARK: &str = "regent";

impl Cluster {
    /// Starts a process by the `command` of `cluster.json`, as an operator would.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start_by_hand(&mut self, name: &str) {
        let words = self.process(name).command;
        let (program, arguments) = words.split_first().expect("a command has a first word");
        let log = File::create(self.home().join(format!("{name}-by-hand.log")));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.stderr(log.expect("the log can be made"));
        self.keep(command.spawn().expect("the command can be started"));
    }

    /// Kills what was started by hand with SIGKILL.
    ///
    /// # Panics
    /// If it isn't there any more.
    pub fn kill_by_hand(&self) {
        for child in &self.by_hand {
            let killed = signals::send(child.id(), MARK, Signal::SIGKILL);
            assert!(killed, "pid {} isn't there", child.id());
        }
    }

    /// Stops what was started by hand.
    pub fn stop_by_hand(&mut self) {
        for child in &mut self.by_hand {
            signals::send(child.id(), MARK, Signal::SIGTERM);
            if wait_for(child, STOP_WITHIN).is_none() {
                kill(child);
            }
        }
        self.by_hand.clear();
    }
}
