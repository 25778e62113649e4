//! Why a command failed: one line with cause and remedy, and the exit code that scripts rely on.

use std::io::Write;
use std::process::ExitCode;

use regent_protocol::error::{ApiError, ErrorKind};

/// A failed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Process exit code of the contract.
    pub(crate) code: u8,
    /// Cause and remedy; its first line stands alone.
    pub(crate) message: String,
    /// Exit 6 only: the command that finds the outcome out. It is the first line of stderr.
    pub(crate) repeat: Option<String>,
}

impl Failure {
    /// A failure of this class.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            code: kind.exit_code(),
            message: message.into(),
            repeat: None,
        }
    }

    /// Tried and failed: exit 1.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// Wrong usage or an invalid file: exit 2.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Refused for safety: exit 5.
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Prints the failure to stderr and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let mut stderr = std::io::stderr().lock();
        // Nothing can be said about a stderr that can't be written to; the exit code still tells.
        if let Some(command) = &self.repeat {
            let _ = writeln!(stderr, "{command}");
        }
        let _ = writeln!(stderr, "error: {}", self.message);
        ExitCode::from(self.code)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(error.kind, error.message)
    }
}

/// A panic becomes one line in words, not a backtrace: a mistake of ours, or one in the user's code.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let payload = info.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        // The user's own code has its own place in the log: it isn't a mistake of this program.
        let line = match regent_worker::own::blamed() {
            Some(task) => {
                tracing::error!(task, place, text, "one's own code panicked");
                format!("panic in {task}{place}: {text}; its task fails, the worker goes on")
            }
            None => {
                tracing::error!(place, text, "internal error");
                format!("internal error{place}: {text}; please report it with this line")
            }
        };
        let _ = writeln!(std::io::stderr(), "error: {line}");
    }));
}
