//! Who a storage root belongs to: markers `owner/<generation>-<cluster id>`, created once, never removed
//! by Regent. Two clusters that were pointed at one directory would delete each other's files.
//!
//! The decision is pure; the listing decides, not what a process remembers. `docs/protocol.md` §10.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use super::{Location, ObjectError, Objects};

/// The directory of markers below the root.
pub const OWNER_DIR: &str = "owner";

/// A cluster in one of its generations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// Rises with each restore.
    pub generation: u64,
    /// The cluster's id.
    pub cluster: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.cluster)
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (generation, cluster) = name.split_once('-').ok_or(())?;
        if cluster.is_empty() {
            return Err(());
        }
        Ok(Self {
            generation: generation.parse().map_err(|_| ())?,
            cluster: cluster.to_owned(),
        })
    }
}

/// What the markers say to one of the clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its own marker is there, and nobody's that goes before it.
    Ours,
    /// Nobody's that goes before it is there: it may create its own.
    Free,
    /// It belongs to this one.
    Foreign(Owner),
}

/// Pure. A higher generation goes before. Of two of one generation, whoever came first: that one's
/// marker is there when the other looks. If both were created at once, the lower cluster id stays.
pub fn judge(own: &Owner, found: &BTreeSet<Owner>) -> Verdict {
    let is_ours = found.contains(own);
    let goes_before = |other: &&Owner| match other.cluster == own.cluster {
        true => other.generation > own.generation,
        false if is_ours => {
            other.generation > own.generation
                || (other.generation == own.generation && other.cluster < own.cluster)
        }
        false => other.generation >= own.generation,
    };
    match found.iter().rfind(goes_before) {
        Some(other) => Verdict::Foreign(other.clone()),
        None if is_ours => Verdict::Ours,
        None => Verdict::Free,
    }
}

/// The markers below a root. What is no marker is passed over.
pub async fn markers(
    objects: &Objects,
    root: &Location,
    limit: Duration,
) -> Result<BTreeSet<Owner>, ObjectError> {
    let dir = root.join(OWNER_DIR)?;
    let listed = objects.list_at_most(&dir, MARKERS_MAX, limit).await?;
    let owner = |name: std::path::PathBuf| name.file_name()?.to_str()?.parse().ok();
    Ok(listed
        .into_iter()
        .filter_map(|found| owner(found.location.name()))
        .collect())
}

/// Clusters that ever used one root.
const MARKERS_MAX: usize = 10_000;

/// Looks, creates one's own marker if that is allowed, and looks again.
pub async fn claim(
    objects: &Objects,
    root: &Location,
    own: &Owner,
    limit: Duration,
) -> Result<Verdict, ObjectError> {
    let verdict = judge(own, &markers(objects, root, limit).await?);
    if verdict != Verdict::Free {
        return Ok(verdict);
    }
    let marker = root.join(&format!("{OWNER_DIR}/{own}"))?;
    let text = Bytes::from(format!("{own}\n"));
    objects.put_create(&marker, text, limit).await?;
    Ok(judge(own, &markers(objects, root, limit).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(text: &str) -> Owner {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_goes_before_is_named() {
        let ours = Verdict::Ours;
        let foreign = |text: &str| Verdict::Foreign(owner(text));
        let cases: [(&str, &[&str], Verdict); 10] = [
            ("1-bb", &[], Verdict::Free),
            ("1-bb", &["1-bb"], ours.clone()),
            ("1-bb", &["1-aa"], foreign("1-aa")),
            ("1-bb", &["1-cc"], foreign("1-cc")),
            ("2-bb", &["1-aa"], Verdict::Free),
            ("1-bb", &["2-aa"], foreign("2-aa")),
            ("1-bb", &["1-bb", "1-aa"], foreign("1-aa")),
            ("1-bb", &["1-bb", "1-cc"], ours.clone()),
            ("1-bb", &["1-bb", "2-bb"], foreign("2-bb")),
            ("2-bb", &["1-aa", "1-bb", "2-bb"], ours),
        ];
        for (own, found, verdict) in cases {
            let found = found.iter().map(|text| owner(text)).collect();
            assert_eq!(judge(&owner(own), &found), verdict, "{own} among {found:?}");
        }
    }

    #[test]
    fn names_that_are_no_markers_are_refused() {
        for name in ["", "1", "1-", "x-aa", "-1-aa"] {
            assert!(name.parse::<Owner>().is_err(), "{name}");
        }
        assert_eq!(owner("12-a-b").to_string(), "12-a-b");
    }

    #[tokio::test]
    async fn the_second_cluster_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root: Location = dir.path().to_str().unwrap().parse().unwrap();
        let objects = Objects::new();
        let limit = Duration::from_secs(10);
        for _ in 0..2 {
            let first = claim(&objects, &root, &owner("1-bb"), limit).await.unwrap();
            assert_eq!(first, Verdict::Ours);
        }
        let second = claim(&objects, &root, &owner("1-aa"), limit).await.unwrap();
        assert_eq!(second, Verdict::Foreign(owner("1-bb")));
        let found = markers(&objects, &root, limit).await.unwrap();
        assert_eq!(found, [owner("1-bb")].into());
        let later = claim(&objects, &root, &owner("2-aa"), limit).await.unwrap();
        assert_eq!(later, Verdict::Ours);
        let first = claim(&objects, &root, &owner("1-bb"), limit).await.unwrap();
        assert_eq!(first, Verdict::Foreign(owner("2-aa")));
    }
}
