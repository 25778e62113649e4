//! No text makes the parser panic, and what it accepts the state machine accepts.

use proptest::prelude::*;

use super::golden::FLIGHTS_PER_CARRIER;
use super::{parsed, parsed_with};

/// What a slip of the hand or a hostile mind puts into a file.
const SCRAPS: [&str; 24] = [
    "", "*", "&a", "*a", "<<: *a", "[", "]", "{", "}", ":", "- ", "\n", "\t", "'", "\"", "0", "-1",
    "129", "1e999", "null", "!!str ", "é", "\u{feff}", "---\n",
];

fn check(text: &str) {
    match parsed(text) {
        Ok(job) => job
            .graph
            .validate()
            .expect("an accepted graph keeps the machine's rules"),
        Err(error) => {
            assert!(!error.problems().is_empty());
            for problem in error.problems() {
                assert!(
                    !problem.to_string().chars().any(char::is_control),
                    "{problem}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        check(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_yaml_like_text(text in "[a-z0-9 \n\t:,\\[\\]{}&*!|>'\"%@#~-]{0,400}") {
        check(&text);
    }

    #[test]
    fn a_valid_file_with_scraps(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..12, 0..SCRAPS.len()), 1..5),
    ) {
        let mut chars: Vec<char> = FLIGHTS_PER_CARRIER.chars().collect();
        for (index, cut, scrap) in edits {
            let at = index.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, SCRAPS[scrap].chars());
        }
        check(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn a_valid_file_with_swapped_lines(
        swaps in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut lines: Vec<&str> = FLIGHTS_PER_CARRIER.lines().collect();
        for (one, other) in swaps {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        check(&lines.join("\n"));
    }

    #[test]
    fn any_override(key in "[a-z.-]{0,30}", value in any::<String>()) {
        let _ = parsed_with(FLIGHTS_PER_CARRIER, &[(&key, &value)]);
        let _ = parsed_with(FLIGHTS_PER_CARRIER, &[("vertices.flights.with.rate", &value)]);
    }
}
