//! Child processes: the test binary started again, to be killed in the middle of its work.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const DIR_VARIABLE: &str = "REGENT_TEST_CHILD_DIR";

/// In a child: the directory to work in. `None` in an ordinary test run.
pub(crate) fn work_dir() -> Option<PathBuf> {
    std::env::var_os(DIR_VARIABLE).map(PathBuf::from)
}

/// Says a line to the parent, past the test harness's capture.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // One write, so that a kill can't tear the line from its newline unnoticed.
    out.write_all(format!("\n> {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// A running child, killed when dropped.
pub(crate) struct Killable {
    child: Child,
    lines: Receiver<String>,
}

/// Starts the test named `test` in a process of its own.
pub(crate) fn start(test: &str, dir: &Path) -> Killable {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            if let Some(said) = line.strip_prefix("> ") {
                sender.send(said.to_owned()).ok();
            }
        }
    });
    Killable { child, lines }
}

impl Killable {
    /// Waits for a line that begins with `prefix`.
    pub(crate) fn expect(&self, prefix: &str) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(Duration::from_secs(30))
                .expect("the child's line");
            if line.starts_with(prefix) {
                return line;
            }
        }
    }

    /// Lets it work for that long, kills it with SIGKILL, and answers all it said.
    pub(crate) fn kill_after(mut self, time: Duration) -> Vec<String> {
        let deadline = Instant::now() + time;
        let mut said = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the child ended: {said:?}"),
            }
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The pipe holds what it said before the kill.
        said.extend(self.lines.iter());
        said
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
