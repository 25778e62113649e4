//! The `regent` program. Everything is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    regent::main(|_| {})
}
