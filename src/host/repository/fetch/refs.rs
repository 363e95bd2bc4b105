//! Which of a remote's refs a name leads to.

use git2::{Oid, RemoteHead};

use super::Failure;
use crate::model::Branch;

const MAX_BRANCHES_TOLD: usize = 10;

/// The ref that the branch's name leads to.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) commit: Oid,
}

/// Picks the branch of that name, or else the tag, among the remote's refs.
pub(super) fn find(heads: &[RemoteHead<'_>], branch: &Branch) -> Result<Found, Failure> {
    let named = |name: &str| heads.iter().find(|head| head.name() == name);
    let branch_ref = format!("refs/heads/{}", branch.as_str());
    let tag_ref = format!("refs/tags/{}", branch.as_str());
    // An annotated tag is followed by a line with the commit that it leads to.
    let peeled = named(&format!("{tag_ref}^{{}}"));
    for (name, commit) in
        [(&branch_ref, named(&branch_ref)), (&tag_ref, peeled.or_else(|| named(&tag_ref)))]
    {
        if let Some(head) = commit {
            return Ok(Found { name: name.clone(), commit: head.oid() });
        }
    }
    let mut branches: Vec<_> = heads
        .iter()
        .filter_map(|head| head.name().strip_prefix("refs/heads/"))
        .map(str::to_owned)
        .collect();
    let more = branches.len().saturating_sub(MAX_BRANCHES_TOLD);
    branches.truncate(MAX_BRANCHES_TOLD);
    Err(Failure::NoSuchBranch { branches, more })
}

/// Where a fetched ref is put in the checkout's own repository.
pub(super) fn local_name(remote_ref: &str) -> String {
    match remote_ref.strip_prefix("refs/heads/") {
        Some(branch) => format!("refs/remotes/origin/{branch}"),
        None => remote_ref.to_owned(),
    }
}
