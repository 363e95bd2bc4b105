//! The versions: checkouts, images, containers, the entry in KV.

use tandem::model::deployment::Step;
use tandem::model::{DeployId, Request};

use super::{Act, FOUND, Notes};
use crate::world::{Code, Data, Entry, Wrong, need};

impl Act<'_> {
    pub(super) fn check_out(&mut self) {
        let (id, head) = (self.deployment.id.clone(), self.world.head);
        self.node().checkouts.insert(id, head);
    }

    pub(super) fn discard(&mut self) {
        let id = &self.deployment.id;
        self.node().checkouts.remove(id);
        self.node().probe = false;
    }

    pub(super) fn check(&mut self) -> Result<Notes, Wrong> {
        self.code()?;
        let found = self.node().volume.is_some();
        let known = self.deployment.former.is_some();
        need(known || !found, || "a volume of an app that nobody has".to_owned())?;
        Ok(found.then(|| (FOUND.to_owned(), "present".to_owned())).into_iter().collect())
    }

    pub(super) fn compare(&mut self) -> Result<Notes, Wrong> {
        let code = self.code()?;
        let differs = self.node().running != Some(code);
        let note = differs.then(|| ("web".to_owned(), "has another image".to_owned()));
        Ok(note.into_iter().collect())
    }

    /// A new image takes the tag of the one that is there.
    pub(super) fn pull(&mut self) -> Result<(), Wrong> {
        let code = self.code()?;
        let node = self.node();
        node.image = node.image.map(|_| code);
        Ok(())
    }

    /// An app that moves is stopped only when most of its data has arrived.
    pub(super) fn stop(&mut self) -> Result<(), Wrong> {
        let master = self.deployment.placement.as_ref().map(|pair| &pair.master);
        let moves = master.is_some_and(|master| master != self.name());
        let arrived = self.has_done(&Step::Room) && self.has_done(&Step::ReceiveSeed);
        need(!moves || arrived, || "stopped before its data went ahead".to_owned())?;
        self.node().running = None;
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<(), Wrong> {
        let (code, rows) = (self.code()?, self.world.rows);
        let is_new = self.deployment.former.is_none();
        let has_images = self.has_done(&Step::Pull) && self.has_done(&Step::Build);
        need(has_images || self.migrates(), || "not pulled, or not built".to_owned())?;
        let node = self.node();
        need(node.image == Some(code), || format!("the image is {:?}, not {code}", node.image))?;
        let with_data = is_new || node.volume.is_some();
        need(with_data, || "the app would start without its data".to_owned())?;
        let data = node.volume.unwrap_or(Data { rows, touched: code, root: 0 });
        node.volume = Some(Data { touched: code, ..data });
        node.running = Some(code);
        Ok(())
    }

    pub(super) fn has_updated(&self) -> Result<(), Wrong> {
        let asked = match self.deployment.request {
            Request::Deploy { update, .. } => (update, false),
            Request::Migrate { update, .. } => (update, true),
            Request::Destroy { .. } => (false, false),
        };
        let ran = (self.has_done(&Step::Update), self.has_done(&Step::PostMigrate));
        need(ran == asked, || format!("update.sh and post_migrate.sh: {ran:?}, not {asked:?}"))
    }

    pub(super) fn runs(&mut self) -> Result<(), Wrong> {
        let code = self.code()?;
        let runs = self.node().running == Some(code) && self.has_done(&Step::Up);
        need(runs, || "the new version does not run".to_owned())
    }

    pub(super) fn commit(&mut self) -> Result<(), Wrong> {
        self.runs()?;
        need(self.has_done(&Step::AwaitHealthy), || "nobody has seen it healthy".to_owned())?;
        let pair = self.deployment.placement.clone().ok_or("no pair")?;
        let way = pair.replica.clone().map(|replica| (pair.master.clone(), replica));
        let is_open = way.is_none_or(|way| self.world.ways.contains(&way));
        need(is_open, || format!("no copy has ever gone the way of {pair}"))?;
        need(pair.master == *self.name(), || "committed by another than the master".to_owned())?;
        let (id, code) = (self.version(), self.code()?);
        self.world.root = match self.world.entry {
            None => 0,
            Some(_) if self.migrates() => self.deployment.epoch,
            Some(_) => self.world.root,
        };
        self.world.entry = Some(Entry { pair, id, code });
        Ok(())
    }

    pub(super) fn forget(&mut self) -> Result<(), Wrong> {
        need(self.last().is_some(), || "nothing would remember the data".to_owned())?;
        self.world.entry = None;
        Ok(())
    }

    /// Where the former version runs, its image gets the tag back.
    pub(super) fn discard_image(&mut self) {
        let former = self.deployment.former.as_ref().map(|former| &former.master);
        if former != Some(self.name()) {
            self.node().image = None;
        }
    }

    pub(super) fn start_former(&mut self) -> Result<(), Wrong> {
        let entry = self.world.entry.clone().ok_or("there is no former version")?;
        let node = self.node();
        node.image = node.kept.or(node.image);
        let is_there = node.checkouts.get(&entry.id) == Some(&entry.code);
        let starts = is_there && node.image == Some(entry.code);
        need(starts, || format!("{entry:?} can't start again on {node:#?}"))?;
        node.running = Some(entry.code);
        Ok(())
    }

    /// The deployment whose version is to run: this one, but a migration leaves the version as it is.
    pub(super) fn version(&self) -> DeployId {
        let former = self.world.entry.as_ref().filter(|_| self.migrates());
        former.map_or(&self.deployment.id, |entry| &entry.id).clone()
    }

    pub(super) fn code(&mut self) -> Result<Code, Wrong> {
        let id = self.version();
        self.node().checkouts.get(&id).copied().ok_or_else(|| format!("no checkout of {id}"))
    }
}
