//! The half that exists in builds with debug assertions only: looking for orders and obeying them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long other threads may run on before a `flush` ends the process.
const FLUSH: Duration = Duration::from_millis(50);

/// What to do to oneself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Kill,
    Flush,
    Stop,
    Sleep(Duration),
}

/// Code passes this moment of this course: carries out what was ordered for it, if anything was.
pub fn reach(course: &str, moment: &str) {
    static DIR: OnceLock<Option<PathBuf>> = OnceLock::new();
    let dir = DIR.get_or_init(|| std::env::var_os("REGENT_FAILPOINTS").map(PathBuf::from));
    if let Some(dir) = dir
        && let Some(order) = take(dir, &format!("{course}.{moment}"))
    {
        obey(order);
    }
}

/// The order for this moment, if there is one, its turn has come, and no other process took it.
fn take(dir: &Path, name: &str) -> Option<Order> {
    let file = dir.join(name);
    let text = fs::read_to_string(&file).ok()?;
    let text = match text.split_once(" in ") {
        Some((order, word)) if called(word.trim()) => order,
        Some(_) => return None,
        None => &text,
    };
    let (order, turn) = parse(text)?;
    if passed(name) < turn {
        return None;
    }
    fs::rename(&file, dir.join(format!("{name}.hit"))).ok()?;
    Some(order)
}

/// Whether a word of this process's command line holds `word`.
fn called(word: &str) -> bool {
    std::env::args().any(|argument| argument.contains(word))
}

/// How often this process has passed an armed moment of that name, this time included.
fn passed(name: &str) -> u32 {
    static PASSED: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let times = passed.entry(name.to_owned()).or_default();
    *times += 1;
    *times
}

fn parse(text: &str) -> Option<(Order, u32)> {
    let (order, turn) = match text.trim().split_once('@') {
        Some((order, turn)) => (order.trim(), turn.trim().parse().ok()?),
        None => (text.trim(), 1),
    };
    let order = match order.split_once(' ') {
        None if order == "kill" => Order::Kill,
        None if order == "flush" => Order::Flush,
        None if order == "stop" => Order::Stop,
        Some(("sleep", millis)) => Order::Sleep(Duration::from_millis(millis.parse().ok()?)),
        _ => return None,
    };
    Some((order, turn))
}

fn obey(order: Order) {
    match order {
        Order::Kill => signal(Signal::SIGKILL),
        Order::Flush => {
            hold(FLUSH);
            signal(Signal::SIGKILL);
        }
        Order::Stop => signal(Signal::SIGSTOP),
        Order::Sleep(time) => hold(time),
    }
}

/// Whoever signals himself can't be denied, so the outcome says nothing.
fn signal(signal: Signal) {
    kill(Pid::this(), signal).ok();
}

/// Holds this thread; the tasks that were queued on it move to another one.
#[expect(clippy::disallowed_methods, reason = "holding the thread is the order")]
fn hold(time: Duration) {
    tokio::task::block_in_place(|| std::thread::sleep(time));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        let sleep = Order::Sleep(Duration::from_millis(20));
        assert_eq!(parse("kill\n"), Some((Order::Kill, 1)));
        assert_eq!(parse("flush"), Some((Order::Flush, 1)));
        assert_eq!(parse("stop@3"), Some((Order::Stop, 3)));
        assert_eq!(parse("sleep 20 @2"), Some((sleep, 2)));
        for nonsense in ["", "sleep", "kill me", "kill@x"] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn an_order_is_taken_once_in_its_turn() {
        let dir = tempfile::tempdir().unwrap();
        let name = "a.taken-in-its-turn";
        assert_eq!(take(dir.path(), name), None);
        fs::write(dir.path().join(name), "kill@2").unwrap();
        assert_eq!(take(dir.path(), name), None, "the first time");
        assert_eq!(take(dir.path(), name), Some(Order::Kill));
        assert_eq!(take(dir.path(), name), None, "it is taken");
        assert!(dir.path().join("a.taken-in-its-turn.hit").is_file());
        fs::write(dir.path().join(name), "kill in somebody-else").unwrap();
        assert_eq!(take(dir.path(), name), None, "it is for another process");
    }
}
