//! Probes over HTTP: named checks, `?exclude=NAME`, and what is answered. Pure.

/// One named check of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, as `?exclude=` takes it.
    pub name: &'static str,
    /// What is wrong; `None`: it passes.
    pub problem: Option<String>,
}

impl Check {
    /// A check that passes if `good`.
    pub fn new(name: &'static str, good: bool, problem: impl Into<String>) -> Self {
        Self {
            name,
            problem: (!good).then(|| problem.into()),
        }
    }
}

/// What a probe answers: whether all checks pass that were not excluded, and a line for each.
///
/// `query` is the query of the address: `exclude=leader,disk`, or `exclude=leader&exclude=disk`.
#[must_use]
pub fn answer(checks: &[Check], query: &str) -> (bool, String) {
    let excluded: Vec<&str> = query
        .split('&')
        .filter_map(|part| part.strip_prefix("exclude="))
        .flat_map(|names| names.split(','))
        .filter(|name| !name.is_empty())
        .collect();
    let mut good = true;
    let mut text = String::new();
    for check in checks {
        let line = match &check.problem {
            _ if excluded.contains(&check.name) => format!("[ ] {} excluded\n", check.name),
            None => format!("[+] {} ok\n", check.name),
            Some(problem) => {
                good = false;
                format!("[-] {} failed: {}\n", check.name, one_line(problem))
            }
        };
        text.push_str(&line);
    }
    for name in excluded {
        if !checks.iter().any(|check| check.name == name) {
            text.push_str(&format!("there is no check `{}`\n", one_line(name)));
        }
    }
    text.push_str(if good { "ok\n" } else { "failed\n" });
    (good, text)
}

fn one_line(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control() || *c == ' ');
    shown.take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_fails_the_probe_unless_it_is_excluded() {
        let checks = [
            Check::new("member", true, ""),
            Check::new("leader", false, "sees no leader"),
        ];
        assert_eq!(
            answer(&checks, ""),
            (
                false,
                "[+] member ok\n[-] leader failed: sees no leader\nfailed\n".to_owned()
            )
        );
        for query in [
            "exclude=leader",
            "exclude=disk,leader",
            "verbose&exclude=member&exclude=leader",
        ] {
            let (good, text) = answer(&checks, query);
            assert!(good, "{query}: {text}");
            assert!(text.contains("[ ] leader excluded\n"), "{text}");
        }
        assert!(
            answer(&checks, "exclude=lead")
                .1
                .contains("there is no check `lead`")
        );
        assert!(!answer(&checks, "exclude=lead").0);
    }
}
