//! One run of a program with a deadline: its exit code and what it said. A program that doesn't end in
//! time is killed, and that is a failure.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::knobs;
use crate::wait::poll;

/// The exit code that says that a majority does not answer.
pub const NO_MAJORITY: i32 = 4;

/// What a run left.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; `None`: killed by a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Outcome {
    /// The outcome itself, if the exit code is this one.
    ///
    /// # Panics
    /// If it is another.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        self
    }

    /// The one JSON document on stdout of a run that succeeded.
    ///
    /// # Panics
    /// If it failed or printed something else.
    #[must_use]
    pub fn json(self) -> Value {
        let done = self.expect(0);
        serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done}"))
    }

    /// The first line of stderr: cause and remedy.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.stderr.lines().next().unwrap_or("")
    }

    /// The first line of stderr of a run that failed as the contract says: nothing on stdout, no
    /// panic's text.
    ///
    /// # Panics
    /// If it didn't.
    pub fn refused(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "exit code of {self}");
        assert_eq!(self.stdout, "", "stdout of a failure: {self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        assert!(
            !self.reason().trim().is_empty(),
            "no cause is named: {self}"
        );
        self.reason()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            command,
            code,
            stdout,
            stderr,
            took,
        } = self;
        write!(
            f,
            "`{command}` ({code:?} after {took:.2?})\nstdout: {stdout}\nstderr: {stderr}"
        )
    }
}

/// The binary under test, in a neutral folder and environment.
#[must_use]
pub fn regent(folder: &Path) -> Command {
    program(&knobs::binary(), folder)
}

/// The same program with failpoints in it.
#[must_use]
pub fn instrumented(folder: &Path) -> Command {
    program(&knobs::instrumented_binary(), folder)
}

/// A program in a neutral folder and environment.
#[must_use]
pub fn program(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    command.current_dir(folder).env_clear();
    for name in [
        "PATH",
        "HOME",
        "TMPDIR",
        "LANG",
        "REGENT_LOG",
        "RUST_BACKTRACE",
    ] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs it to its end.
///
/// # Panics
/// If it can't be started, or doesn't end within `limit`.
#[must_use]
pub fn run(mut command: Command, limit: Duration) -> Outcome {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let line = line_of(&command);
    let began = Instant::now();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("`{line}`: {error}"));
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let ended = wait_for(&mut child, limit);
    if ended.is_none() {
        kill(&mut child);
    }
    let took = began.elapsed();
    let text = |reader: JoinHandle<String>| reader.join().unwrap_or_default();
    let outcome = Outcome {
        command: line,
        code: ended.and_then(|status| status.code()),
        stdout: text(stdout),
        stderr: text(stderr),
        took,
    };
    assert!(ended.is_some(), "it didn't end within {limit:?}: {outcome}");
    outcome
}

/// Waits for a child; `None` if it still runs after `limit`.
pub fn wait_for(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    poll(limit, || child.try_wait().ok().flatten())
}

/// Kills a child that this process started, and reaps it.
pub fn kill(child: &mut Child) {
    // It may have ended by itself; then there is nothing to kill.
    let _ = child.kill();
    let _ = child.wait();
}

/// Lines of a child's stdout or stderr, as they come.
pub fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(std::ffi::OsStr::to_string_lossy).collect();
    words.join(" ")
}

fn read_all(source: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            // What was read until an error is what there is.
            let _ = source.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
