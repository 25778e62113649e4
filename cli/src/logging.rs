//! Where log lines go: stderr, as text or JSON, filtered by `REGENT_LOG`.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Shape of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Sends log lines to stderr. `default` is the filter where `REGENT_LOG` says nothing.
pub(crate) fn install(format: LogFormat, default: &str) {
    let chosen = std::env::var("REGENT_LOG").unwrap_or_default();
    let text = if chosen.trim().is_empty() {
        default
    } else {
        chosen.trim()
    };
    let filter = EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false);
    // A second subscriber in one process (tests) is refused; the first one stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
