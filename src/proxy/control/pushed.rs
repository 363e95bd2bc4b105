//! What the running HAProxy was told of its maps: as long as the same process runs, and nobody else tells it anything, only
//! what changed has to be said. Everything is compared from time to time all the same.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A whole map is compared with the running one when the last time is longer ago: a little less than the agent's own
/// interval, so that each of its looks finds what somebody else changed.
const COMPARE: Duration = Duration::from_secs(25);
/// HAProxy tells its age in whole seconds.
const SLACK: Duration = Duration::from_secs(2);

/// A running worker, when it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pid: u32,
    uptime: Duration,
    at: Instant,
}

impl Process {
    /// Reads `show info`.
    pub(super) fn read(info: &str, at: Instant) -> Option<Self> {
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line?.trim().parse::<u32>().ok()
        };
        let uptime = Duration::from_secs(field("Uptime_sec")?.into());
        Some(Self { pid: field("Pid")?, uptime, at })
    }

    /// Whether a later one is the same: a container that starts anew gives its processes the same numbers again, but they
    /// are younger.
    fn is(&self, later: &Self) -> bool {
        let passed = later.at.saturating_duration_since(self.at);
        self.pid == later.pid && self.uptime > SLACK && later.uptime + SLACK >= self.uptime + passed
    }
}

/// The maps by file.
#[derive(Debug, Default)]
pub(super) struct Pushed(BTreeMap<String, Map>);

#[derive(Debug)]
struct Map {
    process: Process,
    compared: Instant,
    text: Box<str>,
}

impl Pushed {
    /// What a process has of a map, if that is known without asking.
    pub(super) fn known(&self, file: &str, process: &Process) -> Option<&str> {
        let map = self.0.get(file)?;
        let is_recent = process.at.saturating_duration_since(map.compared) < COMPARE;
        (is_recent && map.process.is(process)).then_some(&*map.text)
    }

    /// A process was told only what changed.
    pub(super) fn changed(&mut self, file: &str, text: &str) {
        if let Some(map) = self.0.get_mut(file).filter(|map| *map.text != *text) {
            map.text = text.into();
        }
    }

    /// A process has this map: all of it was compared.
    pub(super) fn compared(&mut self, file: &str, process: Process, text: &str) {
        let compared = process.at;
        self.0.insert(file.to_owned(), Map { process, compared, text: text.into() });
    }

    /// It is not known what a map is.
    pub(super) fn forget(&mut self, file: &str) {
        self.0.remove(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, uptime: u64, at: Instant) -> Process {
        Process::read(&format!("Name: HAProxy\nPid: {pid}\nUptime_sec: {uptime}\n"), at).unwrap()
    }

    #[test]
    fn a_map_is_known_for_a_while_and_for_its_process() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut pushed = Pushed::default();
        assert_eq!(pushed.known("http.map", &process(8, 10, start)), None);
        pushed.compared("http.map", process(8, 10, start), "a n1\n");
        assert_eq!(pushed.known("http.map", &process(8, 10, start)), Some("a n1\n"));
        assert_eq!(pushed.known("http.map", &process(8, 29, at(20))), Some("a n1\n"));
        assert_eq!(pushed.known("http.map", &process(8, 36, at(26))), None, "compared anew");
        assert_eq!(pushed.known("http.map", &process(9, 30, at(20))), None, "another process");
        assert_eq!(pushed.known("http.map", &process(8, 12, at(20))), None, "the same number");
        assert_eq!(pushed.known("https.map", &process(8, 10, start)), None);
        pushed.changed("http.map", "a n2\n");
        assert_eq!(pushed.known("http.map", &process(8, 11, at(1))), Some("a n2\n"));
        pushed.forget("http.map");
        assert_eq!(pushed.known("http.map", &process(8, 11, at(1))), None);
    }

    #[test]
    fn a_process_that_has_just_started_is_not_told_from_the_next() {
        let start = Instant::now();
        let mut pushed = Pushed::default();
        pushed.compared("http.map", process(8, 1, start), "");
        assert_eq!(pushed.known("http.map", &process(8, 1, start)), None);
        assert_eq!(Process::read("Pid: 8\n", start), None);
    }
}
