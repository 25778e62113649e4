//! How an explanation says numbers.

/// `250ms`, `3.4s`, `5m 7s`.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms / 100 % 10),
        _ => format!("{}m {}s", ms / 60_000, ms / 1_000 % 60),
    }
}

/// `1 slot`, `2 slots`.
pub(super) fn plural(number: u32, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// `a`, `a, b`.
pub(super) fn join(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
