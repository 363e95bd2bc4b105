//! What is known of the snapshots here: a read-only one is asked about once.

use std::collections::BTreeMap;

use crate::host::volume::{SnapshotName, Verified, VolumeError, Volumes};
use crate::replication::{Held, Survey};

/// The facts of snapshots that don't change any more.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<SnapshotName, Verified>);

impl Memory {
    /// Forgets the snapshots of all volumes but these.
    pub(super) fn retain(&mut self, volumes: &[&str]) {
        self.0.retain(|name, _| volumes.contains(&name.volume()));
    }

    /// Looks at a volume's snapshots. Nothing is concluded from a part of them: if one can't be asked about, this fails.
    pub(super) async fn survey(
        &mut self,
        seam: &dyn Volumes,
        volume: &str,
    ) -> Result<Survey, VolumeError> {
        let mut survey = Survey::default();
        for name in seam.snapshots(volume).await? {
            if name.sent_to().is_some() {
                survey.marks.push(name);
            } else if let Some(facts) = self.0.get(&name) {
                survey.held.push(Held { name, facts: facts.clone() });
            } else if let Some(facts) = seam.facts(&name).await? {
                survey.held.push(Held { name, facts });
            }
        }
        self.verify_newest(seam, &mut survey).await?;
        self.0.retain(|name, _| name.volume() != volume);
        let settled = survey.held.iter().filter(|held| held.facts.read_only);
        self.0.extend(settled.map(|held| (held.name.clone(), held.facts.clone())));
        Ok(survey)
    }

    /// What others rely on is not taken from memory: a copy that is not what it was makes room for the next newest.
    async fn verify_newest(
        &self,
        seam: &dyn Volumes,
        survey: &mut Survey,
    ) -> Result<(), VolumeError> {
        while let Some(newest) = survey.newest_copy().cloned() {
            if !self.0.contains_key(&newest.name) {
                return Ok(());
            }
            let now = seam.facts(&newest.name).await?;
            let same = |facts: &Verified| facts.is_whole_copy() && facts.uuid == newest.facts.uuid;
            if now.as_ref().is_some_and(same) {
                return Ok(());
            }
            survey.held.retain(|held| held.name != newest.name);
        }
        Ok(())
    }
}
