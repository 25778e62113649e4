//! How a client names a job: by id, by a unique beginning of an id, or by a unique name. Pure.

use regent_protocol::error::{ApiError, ErrorKind};
use regent_state::Machine;
use regent_state::ids::JobId;

/// Digits that a beginning of an id needs at least, so that a name is rarely taken for one.
const PREFIX_MIN: usize = 4;

/// The job that `text` names.
pub(crate) fn resolve(machine: &Machine, text: &str) -> Result<JobId, ApiError> {
    if let Ok(id) = text.parse::<JobId>() {
        return match machine.job(id) {
            Some(_) => Ok(id),
            None => Err(unknown(text)),
        };
    }
    let named: Vec<JobId> = ids(machine, |_, name| name == text);
    let matching = match named.is_empty() && is_prefix(text) {
        true => ids(machine, |id, _| id.starts_with(&text.to_ascii_lowercase())),
        false => prefer_active(machine, named),
    };
    match matching.as_slice() {
        [one] => Ok(*one),
        [] => Err(unknown(text)),
        several => Err(ambiguous(text, several)),
    }
}

/// The job that `text` names, or one whose result has expired and whose artefacts have not.
pub(crate) fn resolve_owner(machine: &Machine, text: &str) -> Result<JobId, ApiError> {
    resolve(machine, text).or_else(|error| {
        let Ok(id) = text.parse::<JobId>() else {
            return Err(error);
        };
        let owned = |owner: Option<(JobId, _)>| owner.is_some_and(|(job, _)| job == id);
        let found = machine.artefacts().any(|artefact| owned(artefact.owner));
        if found { Ok(id) } else { Err(error) }
    })
}

fn ids(machine: &Machine, wanted: impl Fn(&str, &str) -> bool) -> Vec<JobId> {
    let matching = machine
        .jobs()
        .filter(|job| wanted(&job.id.to_string(), &job.name));
    matching.map(|job| job.id).collect()
}

/// Of several jobs of one name, the only one that has not ended is meant.
fn prefer_active(machine: &Machine, named: Vec<JobId>) -> Vec<JobId> {
    let active = |id: &&JobId| machine.job(**id).is_some_and(|job| !job.is_terminal());
    let running: Vec<JobId> = named.iter().filter(active).copied().collect();
    if running.len() == 1 { running } else { named }
}

fn is_prefix(text: &str) -> bool {
    text.len() >= PREFIX_MIN && text.len() < 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn unknown(text: &str) -> ApiError {
    let shown: String = text.chars().take(128).collect();
    ApiError::new(
        ErrorKind::Failed,
        format!("no job `{shown}`; see: regent job list"),
    )
}

fn ambiguous(text: &str, several: &[JobId]) -> ApiError {
    let shown: Vec<String> = several.iter().take(4).map(ToString::to_string).collect();
    let message = format!(
        "`{text}` names {} jobs ({}); give the id",
        several.len(),
        shown.join(", ")
    );
    ApiError::new(ErrorKind::Failed, message)
}
