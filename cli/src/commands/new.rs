//! `regent new NAME`: a project with an operator of one's own, ready to be built. Its files are those
//! of `deploy/examples/custom-operator`, which the tests build and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use regent_protocol::error::ErrorKind;

use super::Done;
use crate::failure::Failure;
use crate::output;

const MAIN: &str = include_str!("../../../deploy/examples/custom-operator/src/main.rs");
const TESTS: &str = include_str!("../../../deploy/examples/custom-operator/src/tests.rs");
const JOB: &str = include_str!("../../../deploy/examples/custom-operator/job.yaml");
/// The folder of this package, where the program was built.
const BUILT_IN: &str = env!("CARGO_MANIFEST_DIR");
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = "\
The project depends on the checkout that this program was built in, if that is still there, else on
the repository. Nothing that exists is changed.

Examples:
  regent new my-job
  cd my-job && cargo run --release -- local")]
pub(crate) struct NewArgs {
    /// Name of the project and of its folder: letters, digits, - and _
    #[arg(value_name = "NAME")]
    name: String,
    /// A checkout of Regent to depend on
    #[arg(long, value_name = "DIR")]
    regent: Option<PathBuf>,
}

pub(crate) fn run(args: &NewArgs) -> Done {
    check_name(&args.name)?;
    let dependency = dependency(args.regent.as_deref())?;
    let folder = PathBuf::from(&args.name);
    write(&folder, &args.name, &dependency)?;
    output::write_stdout(&told(&args.name))?;
    Ok(ExitCode::SUCCESS)
}

fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    if begins && name.len() <= NAME_BYTES_MAX && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{name:?} can't be the name of a project: it must be 1 to {NAME_BYTES_MAX} letters, digits, \
         `-` and `_`, and begin with a letter"
    )))
}

/// How the project names the package `regent`.
fn dependency(checkout: Option<&Path>) -> Result<String, Failure> {
    if let Some(checkout) = checkout {
        let package = package_in(checkout).ok_or_else(|| {
            Failure::invalid(format!(
                "{} is no checkout of Regent: there is no cli/Cargo.toml in it",
                checkout.display()
            ))
        })?;
        return Ok(by_path(&package));
    }
    let built_in = Path::new(BUILT_IN).parent().and_then(package_in);
    Ok(built_in.map_or_else(by_repository, |package| by_path(&package)))
}

/// The folder of the package in a checkout, absolute.
fn package_in(checkout: &Path) -> Option<PathBuf> {
    let package = checkout.join("cli").canonicalize().ok()?;
    package.join("Cargo.toml").is_file().then_some(package)
}

fn by_path(package: &Path) -> String {
    // A string of TOML is spelled as one of JSON.
    let path = serde_json::Value::from(package.display().to_string());
    format!("regent = {{ path = {path} }}")
}

fn by_repository() -> String {
    let (url, version) = (env!("CARGO_PKG_REPOSITORY"), env!("CARGO_PKG_VERSION"));
    format!("regent = {{ git = \"{url}\", tag = \"v{version}\" }}")
}

fn cargo_toml(name: &str, dependency: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
publish = false

[dependencies]
{dependency}
# For `setup.config()`: derive Deserialize for what stands in the job file's `with`.
serde = {{ version = "1", features = ["derive"] }}

# A panic of an operator fails its task and not the worker, so it must unwind: no `panic = "abort"`.
[profile.release]
debug = "line-tables-only"

# A project of its own, also inside the folder of another.
[workspace]
"#
    )
}

fn write(folder: &Path, name: &str, dependency: &str) -> Result<(), Failure> {
    let failed = |what: &Path, error: &std::io::Error| {
        Failure::failed(format!("{} can't be written: {error}", what.display()))
    };
    match fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let path = folder.display();
            let message = format!("{path} exists already; take another name, or remove it");
            return Err(Failure::new(ErrorKind::Refused, message));
        }
        made => made.map_err(|error| failed(folder, &error))?,
    }
    let source = folder.join("src");
    fs::create_dir(&source).map_err(|error| failed(&source, &error))?;
    for (file, text) in [
        ("Cargo.toml", cargo_toml(name, dependency).as_str()),
        ("src/main.rs", MAIN),
        ("src/tests.rs", TESTS),
        ("job.yaml", JOB),
        (".gitignore", "/target\n/regent-local\n/out\n"),
    ] {
        let path = folder.join(file);
        fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn told(name: &str) -> String {
    format!(
        "\
{name} is a program with the operator `enrich` (src/main.rs), its test and a job. Try it:

  cd {name}
  cargo test                                   the operator alone
  cargo run --release -- local                 a cluster of this program; it stays in the foreground
  cargo run --release -- job submit job.yaml --wait      from a second terminal, in the same folder
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in ["a", "my-job", "My_job2"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in [
            "",
            "2job",
            "-job",
            "my job",
            "../job",
            "a/b",
            &"a".repeat(65),
        ] {
            assert_eq!(check_name(name).unwrap_err().code, 2, "{name}");
        }
    }

    #[test]
    fn a_project_depends_on_what_is_there() {
        let root = Path::new(BUILT_IN).parent().unwrap();
        let expected = by_path(&Path::new(BUILT_IN).canonicalize().unwrap());
        assert_eq!(dependency(Some(root)).unwrap(), expected);
        assert_eq!(dependency(None).unwrap(), expected);
        let nowhere = tempfile::tempdir().unwrap();
        let refused = dependency(Some(nowhere.path())).unwrap_err();
        assert_eq!(refused.code, 2);
        assert!(by_repository().contains("git = \"https://"));
    }

    #[test]
    fn what_exists_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("job");
        write(&folder, "job", &by_repository()).unwrap();
        assert_eq!(
            fs::read_to_string(folder.join("src/main.rs")).unwrap(),
            MAIN
        );
        fs::write(folder.join("src/main.rs"), "mine").unwrap();
        let refused = write(&folder, "job", &by_repository()).unwrap_err();
        assert_eq!(refused.code, 5);
        assert_eq!(
            fs::read_to_string(folder.join("src/main.rs")).unwrap(),
            "mine"
        );
    }
}
