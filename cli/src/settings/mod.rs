//! Configuration: a YAML file, overlaid by the environment and `--set`, into a typed struct.
//!
//! What the keys mean and which values are refused belongs to the crates that own the roles; here is
//! where a value came from, so that a message can name the file and line, the variable or the option.

mod load;
mod origins;
mod overlay;
mod tree;

pub(crate) use load::{Role, check_security, jobmanager, read_text, role_of, taskmanager};
pub(crate) use origins::{Setting, settings};
pub(crate) use overlay::{Assignment, environment};
