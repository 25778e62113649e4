//! Bearer tokens: one file holds one token and gives one role. The files may be read again while the process
//! runs: requests from then on are held against what they hold now.

use std::fmt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use subtle::ConstantTimeEq;

use crate::config::TokenFiles;
use crate::credentials::{SecurityError, read};
use crate::identity::Role;

/// Shorter tokens can be guessed.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_CHARS_MAX: usize = 1_024;

/// The tokens that a process takes.
#[derive(Default)]
pub struct Tokens {
    files: TokenFiles,
    known: RwLock<Vec<(Role, String)>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let roles = known.iter().map(|(role, _)| role);
        f.debug_list().entries(roles).finish()
    }
}

impl Tokens {
    /// Reads the files.
    ///
    /// # Errors
    /// A file that can't be read or holds no token, and one token for two roles.
    pub fn load(files: &TokenFiles) -> Result<Self, SecurityError> {
        Ok(Self {
            files: files.clone(),
            known: RwLock::new(read_all(files)?),
        })
    }

    /// Reads the files again; `true` if they hold something else than before. What can't be used changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Tokens::load`].
    pub fn renew(&self) -> Result<bool, SecurityError> {
        let read = read_all(&self.files)?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != read;
        *known = read;
        Ok(changed)
    }

    /// Whose token this is. All are compared, each in constant time.
    #[must_use]
    pub fn role(&self, shown: &[u8]) -> Option<Role> {
        let mut found = None;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        for (role, token) in &*known {
            if bool::from(token.as_bytes().ct_eq(shown)) {
                found = Some(*role);
            }
        }
        found
    }
}

fn read_all(files: &TokenFiles) -> Result<Vec<(Role, String)>, SecurityError> {
    let named = [
        (Role::Viewer, "security.tokens.viewer", &files.viewer),
        (Role::Operator, "security.tokens.operator", &files.operator),
        (Role::Admin, "security.tokens.admin", &files.admin),
    ];
    let mut known: Vec<(Role, String)> = Vec::new();
    for (role, key, file) in named {
        let Some(file) = file else { continue };
        let token = read_token(key, file)?;
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == token) {
            let text = format!("{}: it is the {other}'s token, too", file.display());
            return Err(SecurityError::new(key, text));
        }
        known.push((role, token));
    }
    Ok(known)
}

/// Reads a file with one token; white space around it doesn't count.
///
/// # Errors
/// The file can't be read, or what it holds is too short, too long, or not visible ASCII.
pub fn read_token(key: &'static str, path: &Path) -> Result<String, SecurityError> {
    let bytes = read(key, path)?;
    let wrong = |text: &str| SecurityError::new(key, format!("{}: {text}", path.display()));
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("holds no token"))?;
    let token = text.trim();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong("a token is one word of visible ASCII characters"));
    }
    if token.len() < TOKEN_CHARS_MIN {
        return Err(wrong(
            "a token has at least 16 characters; make one with: openssl rand -hex 32",
        ));
    }
    if token.len() > TOKEN_CHARS_MAX {
        return Err(wrong("a token has at most 1024 characters"));
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path, viewer: &str, admin: &str) -> TokenFiles {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        TokenFiles {
            viewer: write("viewer", viewer),
            operator: None,
            admin: write("admin", admin),
        }
    }

    #[test]
    fn a_token_gives_the_role_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path(), "viewer-0123456789\n", "admin-0123456789");
        let tokens = Tokens::load(&files).unwrap();
        assert_eq!(tokens.role(b"viewer-0123456789"), Some(Role::Viewer));
        assert_eq!(tokens.role(b"admin-0123456789"), Some(Role::Admin));
        for wrong in [
            "",
            "admin-012345678",
            "admin-01234567890",
            "viewer-0123456789\n",
        ] {
            assert_eq!(tokens.role(wrong.as_bytes()), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("0123"));
    }

    #[test]
    fn files_that_hold_no_good_token_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let good = "0123456789abcdef";
        for (viewer, admin, key) in [
            ("short", good, "security.tokens.viewer"),
            (good, "two words 0123456789", "security.tokens.admin"),
            (good, good, "security.tokens.admin"),
            (good, "", "security.tokens.admin"),
        ] {
            let error = Tokens::load(&files(dir.path(), viewer, admin)).unwrap_err();
            assert_eq!(error.key, key);
            assert!(error.problem.starts_with(dir.path().to_str().unwrap()));
        }
    }
}
