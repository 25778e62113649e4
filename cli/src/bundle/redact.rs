//! Takes out of a text what nobody else should see. Pure. Rather too much than too little.

/// Names whose values are taken out.
const SECRETS: [&str; 6] = [
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "private-key",
];
const GONE: &str = "[redacted]";

/// The text without secrets.
pub(super) fn redact(text: &str) -> String {
    let mut blocked = false;
    let lines = text.lines().filter_map(|line| {
        if line.contains("-----BEGIN ") {
            blocked = true;
            return Some(GONE.to_owned());
        }
        if blocked {
            blocked = !line.contains("-----END ");
            return None;
        }
        Some(line_of(line))
    });
    lines.map(|line| line + "\n").collect()
}

fn line_of(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut next_is_secret = false;
    for word in line.split(' ') {
        let lower = word.to_ascii_lowercase();
        if next_is_secret && !word.is_empty() {
            words.push(keep_end(word));
            next_is_secret = false;
            continue;
        }
        if lower == "bearer" {
            next_is_secret = true;
            words.push(word.to_owned());
            continue;
        }
        let name_ends = word.find([':', '=']);
        let is_secret = name_ends.is_some_and(|end| {
            SECRETS
                .iter()
                .any(|s| lower[..end].replace('_', "-").contains(s))
        });
        match name_ends {
            Some(end) if is_secret && end + 1 < word.len() => {
                words.push(format!("{}{GONE}", &word[..=end]))
            }
            Some(_) if is_secret => {
                next_is_secret = true;
                words.push(word.to_owned());
            }
            _ => words.push(without_userinfo(word)),
        }
    }
    words.join(" ")
}

/// Keeps a closing brace or comma, so that what surrounds a value stays readable.
fn keep_end(word: &str) -> String {
    let end: String = word
        .chars()
        .rev()
        .take_while(|c| "},]\"'".contains(*c))
        .collect();
    format!("{GONE}{}", end.chars().rev().collect::<String>())
}

/// `scheme://user:pass@host` without user and password.
fn without_userinfo(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let authority_ends = rest.find(['/', '?', '"']).unwrap_or(rest.len());
    match rest[..authority_ends].rfind('@') {
        Some(at) => format!("{scheme}://{GONE}{}", &rest[at..]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_the_rest_stays() {
        for (before, after) in [
            ("node-id: 1", "node-id: 1"),
            ("token: abc", "token: [redacted]"),
            ("  password=hunter2 next", "  password=[redacted] next"),
            (
                "s3: { secret_key: abc, region: eu }",
                "s3: { secret_key: [redacted], region: eu }",
            ),
            (
                "Authorization: Bearer eyJhbGciOi",
                "Authorization: Bearer [redacted]",
            ),
            (
                "https://me:pw@host:9/x?y=1",
                "https://[redacted]@host:9/x?y=1",
            ),
            ("endpoint: http://host:9000", "endpoint: http://host:9000"),
            ("credentials-file: /etc/x", "credentials-file: [redacted]"),
        ] {
            assert_eq!(redact(before), format!("{after}\n"), "{before}");
        }
        let pem = "a\n-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\nb\n";
        assert_eq!(redact(pem), "a\n[redacted]\nb\n");
    }
}
