//! The nearest valid name: what an error offers instead of a name that doesn't exist.

use super::error::quoted;

/// Longer names are compared by their beginning: a hostile name costs no more than a real one.
const COMPARED_CHARS_MAX: usize = 64;
/// As many names as fit in a readable line.
const LISTED_MAX: usize = 8;

/// ``unknown {what} `{name}`; did you mean `x`?``, or the valid names, nearest first.
pub(super) fn unknown<'a>(
    what: &str,
    name: &str,
    valid: impl IntoIterator<Item = &'a str>,
) -> String {
    with_nearest(&format!("unknown {what} {}", quoted(name)), name, valid)
}

/// The message, followed by the nearest valid name or all of them, nearest first.
pub(super) fn with_nearest<'a>(
    message: &str,
    name: &str,
    valid: impl IntoIterator<Item = &'a str>,
) -> String {
    let mut ranked: Vec<(usize, &str)> = valid
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .collect();
    ranked.sort_unstable();
    ranked.dedup();
    match ranked.first() {
        None => message.to_owned(),
        Some((distance, nearest)) if *distance <= tolerated(name) => {
            format!("{message}; did you mean {}?", quoted(nearest))
        }
        Some(_) => format!("{message}; valid: {}", listed(&ranked)),
    }
}

/// A third of the letters may be wrong, and always two.
fn tolerated(name: &str) -> usize {
    (name.chars().count() / 3).max(2)
}

fn distance(name: &str, candidate: &str) -> usize {
    let cut = |text: &str| text.chars().take(COMPARED_CHARS_MAX).collect::<String>();
    let name = cut(name).to_lowercase().replace('_', "-");
    strsim::osa_distance(&name, &cut(candidate).replace('_', "-"))
}

fn listed(ranked: &[(usize, &str)]) -> String {
    let names: Vec<String> = ranked
        .iter()
        .take(LISTED_MAX)
        .map(|(_, candidate)| quoted(candidate))
        .collect();
    let more = ranked.len().saturating_sub(LISTED_MAX);
    match more {
        0 => names.join(", "),
        _ => format!("{} and {more} more", names.join(", ")),
    }
}
