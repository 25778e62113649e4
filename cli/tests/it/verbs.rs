//! Which verbs exist, and that every one of them explains itself.

use crate::program::{command, finish, run};

/// Every verb of the program. A verb appears here when it works, and never goes away.
const VERBS: &[&str] = &[
    "demo",
    "local",
    "jobmanager",
    "taskmanager",
    "cluster bootstrap",
    "status",
    "leader show",
    "leader history",
    "leader explain",
    "leader watch",
    "leader transfer",
    "job submit",
    "job list",
    "job show",
    "job explain",
    "job cancel",
    "job stop",
    "job savepoint",
    "job result",
    "job history",
    "checkpoint list",
    "checkpoint show",
    "worker list",
    "worker drain",
    "worker undrain",
    "new",
    "members list",
    "members plan",
    "members add",
    "members promote",
    "members demote",
    "members remove",
    "snapshot save",
    "snapshot inspect",
    "snapshot restore",
    "recover plan",
    "recover apply",
    "recover resume",
    "cleanup list",
    "cleanup show",
    "cleanup retry",
    "cleanup forget",
    "cleanup verify",
    "savepoint dispose",
    "drill list",
    "drill run",
    "log tail",
    "log show",
    "state",
    "config check",
    "config show",
    "debug bundle",
    "man",
    "logs",
    "completions",
    "version",
];

fn listed(help: &str) -> Vec<String> {
    let commands = help.split("Commands:").nth(1).unwrap_or_default();
    let end = commands.find("\n\n").unwrap_or(commands.len());
    commands[..end]
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|l| !l.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|verb| verb != "help")
        .collect()
}

#[test]
fn help_lists_exactly_the_verbs_that_work() {
    let mut found = Vec::new();
    for verb in listed(&run(&["--help"]).stdout) {
        let below = listed(&run(&[&verb, "--help"]).stdout);
        if below.is_empty() {
            found.push(verb);
        } else {
            found.extend(below.iter().map(|b| format!("{verb} {b}")));
        }
    }
    let mut expected: Vec<&str> = VERBS.to_vec();
    expected.sort_unstable();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in VERBS {
        let mut arguments: Vec<&str> = verb.split(' ').collect();
        arguments.push("--help");
        let ran = run(&arguments);
        assert_eq!(ran.code, 0, "{verb}: {}", ran.stderr);
        let has_example = ran.stdout.contains("Example");
        assert!(has_example || *verb == "version", "{verb}: {}", ran.stdout);
        assert!(ran.stdout.contains("--endpoints"), "{verb}");
    }
}

#[test]
fn changing_verbs_take_dry_run_and_a_request_id() {
    for verb in [
        "job submit",
        "job cancel",
        "job stop",
        "job savepoint",
        "leader transfer",
        "cleanup retry",
        "cleanup forget",
        "savepoint dispose",
        "cluster bootstrap",
    ] {
        let mut arguments: Vec<&str> = verb.split(' ').collect();
        arguments.push("--help");
        let help = run(&arguments).stdout;
        for option in ["--dry-run", "--request-id", "--yes"] {
            assert!(help.contains(option), "{verb} {option}");
        }
    }
}

#[test]
fn wrong_usage_is_exit_2_with_nothing_on_stdout() {
    for arguments in [
        &[][..],
        &["fly"],
        &["job"],
        &["job", "submit"],
        &["status", "--timeout", "soon"],
        &["status", "--timeout", "0s"],
        &["status", "-o", "xml"],
        &["local", "--jobmanagers", "2"],
        &["local", "--taskmanagers", "15"],
        &["job", "submit", "x.yaml", "--job-id", "12"],
        &["job", "submit", "x.yaml", "--allow-unclaimed-state"],
        &["job", "stop", "x"],
        &["job", "savepoint", "x", ""],
        &["cleanup", "forget", "x", "--yes"],
        // They ask first, and there is no terminal here.
        &["cleanup", "forget", "1"],
        &["savepoint", "dispose", "/sp/savepoint-1.2-3"],
        &["job", "cancel", "x", "--request-id", "xyz"],
        &["status", "--endpoints", "nowhere"],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
        assert_ne!(ran.stderr, "", "{arguments:?}");
    }
}

#[test]
fn the_version_is_printed_in_every_format() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(run(&["version"]).stdout, format!("regent {version}\n"));
    assert_eq!(run(&["--version"]).stdout, format!("regent {version}\n"));
    for arguments in [["-o", "json", "version"], ["version", "-o", "json"]] {
        let json: serde_json::Value = serde_json::from_str(&run(&arguments).stdout).unwrap();
        assert_eq!(json["version"], version);
    }
    let yaml = run(&["version", "-o", "yaml"]).stdout;
    assert!(yaml.contains("name: regent"), "{yaml}");
}

#[test]
fn completions_are_printed_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.stdout.contains("taskmanager"), "{shell}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_regent");
    let mut shell = std::process::Command::new("sh");
    // `sleep 0` ends at once; its end of the pipe is closed when the program writes.
    let script = format!("{{ sleep 0.3; {program} completions zsh; echo $? >code; }} | sleep 0");
    shell.args(["-c", &script]).current_dir(dir.path());
    assert_eq!(finish(shell).stderr, "");
    let code = std::fs::read_to_string(dir.path().join("code")).unwrap();
    assert_eq!(code.trim(), "0");
}

#[test]
fn configuration_names_in_the_environment_dont_disturb_other_verbs() {
    let dir = tempfile::tempdir().unwrap();
    let mut version = command(dir.path(), &["version"]);
    version
        .env("REGENT_LISTEN__API", "nonsense")
        .env("REGENT_LOG", "debug");
    assert_eq!(finish(version).code, 0);
}
