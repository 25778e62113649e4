//! What makes a change safe to send twice: its id, and the moment before which it was never sent.

use rand::RngCore;
use regent_protocol::error::ErrorKind;

use crate::args::ChangeArgs;
use crate::failure::Failure;

/// Id and base of one change; the same over all its tries.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    request_id: [u8; 16],
    base: Option<(u64, u64)>,
    dry_run: bool,
    /// Options that a repeated command needs besides the ones that were given.
    pinned: Vec<(&'static str, String)>,
}

/// Random lower-case hex digits for this many bytes.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut raw = vec![0_u8; bytes];
    rand::rng().fill_bytes(&mut raw);
    hex(&raw)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Identity {
    /// The identity that the options give, or a new one.
    pub(crate) fn new(args: &ChangeArgs) -> Self {
        let request_id = args.request_id.unwrap_or_else(|| {
            let mut id = [0; 16];
            rand::rng().fill_bytes(&mut id);
            id
        });
        Self {
            request_id,
            base: args.request_base,
            dry_run: args.dry_run,
            pinned: Vec::new(),
        }
    }

    /// Adds an option that was made up here and must be the same when the command is repeated.
    pub(crate) fn pin(mut self, option: &'static str, value: &str) -> Self {
        self.pinned.push((option, value.to_owned()));
        self
    }

    /// Takes the base, unless a repeated command brought the first one's.
    pub(crate) fn learn(&mut self, base: (u64, u64)) {
        self.base.get_or_insert(base);
    }

    pub(crate) fn request_id(&self) -> [u8; 16] {
        self.request_id
    }

    pub(crate) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// (generation, applied index) at some replica before the first try; zeros if never learnt.
    pub(crate) fn base(&self) -> (u64, u64) {
        self.base.unwrap_or_default()
    }

    /// Adds the command to repeat to a failure whose outcome is unknown.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if failure.code != ErrorKind::UnknownOutcome.exit_code() {
            return failure;
        }
        let arguments: Vec<String> = std::env::args_os()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        Failure {
            repeat: Some(self.repeat(&arguments)),
            ..failure
        }
    }

    /// The command line with the ids filled in, quoted for a shell.
    fn repeat(&self, arguments: &[String]) -> String {
        let (generation, index) = self.base();
        let ids = [
            ("--request-id", hex(&self.request_id)),
            ("--request-base", format!("{generation}.{index}")),
        ];
        let pinned = self.pinned.iter().cloned();
        let missing = pinned
            .chain(ids)
            .filter(|(option, _)| !has_option(arguments, option))
            .flat_map(|(option, value)| [option.to_owned(), value]);
        let words = arguments.iter().cloned().chain(missing);
        words.map(|word| quote(&word)).collect::<Vec<_>>().join(" ")
    }
}

fn has_option(arguments: &[String], option: &str) -> bool {
    arguments
        .iter()
        .any(|a| a == option || a.strip_prefix(option).is_some_and(|r| r.starts_with('=')))
}

/// Quotes a word for a POSIX shell, if it needs that.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_command_to_repeat_has_every_id_once() {
        let args = ChangeArgs {
            request_id: Some([0xab; 16]),
            ..ChangeArgs::default()
        };
        let mut identity = Identity::new(&args).pin("--job-id", "77");
        identity.learn((1, 42));
        identity.learn((1, 50));
        let id = "ab".repeat(16);
        assert_eq!(
            identity.repeat(&words("regent job submit it's.yaml")),
            format!(
                r"regent job submit 'it'\''s.yaml' --job-id 77 --request-id {id} --request-base 1.42"
            )
        );
        let given = format!("regent job submit f --job-id=77 --request-id {id}");
        assert_eq!(
            identity.repeat(&words(&given)),
            format!("{given} --request-base 1.42")
        );
    }

    #[test]
    fn only_an_unknown_outcome_names_a_command() {
        let identity = Identity::new(&ChangeArgs::default());
        let failed = identity.explain(Failure::failed("no"));
        assert_eq!(failed.repeat, None);
        let unknown = identity.explain(Failure::new(ErrorKind::UnknownOutcome, "who knows"));
        assert!(unknown.repeat.unwrap().contains("--request-id "));
    }

    #[test]
    fn random_ids_differ() {
        let (a, b) = (random_hex(16), random_hex(16));
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
    }
}
