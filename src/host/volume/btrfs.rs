//! What `btrfs subvolume show` says.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::host::command::{Command, CommandError};

const DEADLINE: Duration = Duration::from_secs(60);
/// A volume may have millions of files.
const WALK: Duration = Duration::from_secs(600);

/// The facts of a subvolume that tell a whole copy from a torn one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Whether nothing can change it any more.
    pub read_only: bool,
    /// Its own id.
    pub uuid: Option<String>,
    /// The id of the subvolume that it is a snapshot of.
    pub parent_uuid: Option<String>,
    /// The id that it had on the node that sent it; set at the very end of a transfer.
    pub received_uuid: Option<String>,
    /// When it came to be on this node: taken, or begun to arrive. In whole seconds.
    pub created_at: Option<DateTime<Utc>>,
    /// When it had arrived, or what it is a snapshot of. In whole seconds.
    pub received_at: Option<DateTime<Utc>>,
    /// Moves when it changes and the file system commits that (every 30 s).
    pub generation: Option<u64>,
}

impl Verified {
    /// Whether it is a snapshot that arrived whole. A transfer that broke off leaves a writable one without an origin.
    pub fn is_whole_copy(&self) -> bool {
        self.read_only && self.received_uuid.is_some()
    }

    /// Whether it is what a transfer left that broke off, or one that is still under way.
    pub fn is_torn(&self) -> bool {
        !self.read_only && self.received_uuid.is_none()
    }

    /// Since when this node has had what it holds: a snapshot of a copy holds nothing newer than the copy.
    pub fn held_since(&self) -> Option<DateTime<Utc>> {
        match (self.created_at, self.received_at) {
            (Some(created), Some(received)) => Some(created.min(received)),
            (created, _) => created,
        }
    }

    /// The id by which copies of the same snapshot on other nodes know it.
    pub fn origin(&self) -> Option<&str> {
        self.received_uuid.as_deref().or(self.uuid.as_deref())
    }
}

pub(super) async fn show(path: &Path) -> Result<Verified, CommandError> {
    let command = Command::new("btrfs").args(["subvolume", "show", "--"]).arg(path);
    Ok(parse(&command.run(DEADLINE).await?.stdout))
}

/// Makes a read-only snapshot of a subvolume.
pub(super) async fn snapshot(from: &Path, to: &Path) -> Result<(), CommandError> {
    let command = Command::new("btrfs").args(["subvolume", "snapshot", "-r", "--"]);
    command.arg(from).arg(to).run(DEADLINE).await.map(drop)
}

/// Copies what is below a directory, with owners, modes, links and attributes, and compares the copy by its content.
pub(super) async fn fill(path: &Path, directory: &Path) -> Result<(), CommandError> {
    let copy = Command::new("cp").args(["--archive", "--reflink=auto", "--"]);
    copy.arg(directory.join(".")).arg(path).run(WALK).await?;
    let compare = Command::new("diff").args(["--recursive", "--brief", "--no-dereference", "--"]);
    compare.arg(directory).arg(path).run(WALK).await.map(drop)
}

/// What `du` counts, in bytes: a walk over every file. What can't be read is counted as nothing.
pub(super) async fn size(path: &Path) -> Result<u64, CommandError> {
    let command = Command::new("du").args(["--summarize", "--block-size=1", "--"]).arg(path);
    let printed = command.run(WALK).await?.stdout;
    Ok(printed.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).unwrap_or_default())
}

fn parse(text: &str) -> Verified {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let value = fields.find_map(|(key, value)| (key.trim() == name).then_some(value.trim()));
        value.filter(|value| !value.is_empty() && *value != "-").map(str::to_owned)
    };
    Verified {
        read_only: field("Flags")
            .is_some_and(|flags| flags.split([',', ' ']).any(|flag| flag == "readonly")),
        uuid: field("UUID"),
        parent_uuid: field("Parent UUID"),
        received_uuid: field("Received UUID"),
        created_at: field("Creation time").and_then(|text| time(&text)),
        received_at: field("Receive time").and_then(|text| time(&text)),
        generation: field("Generation").and_then(|text| text.parse().ok()),
    }
}

/// The local time with its distance from UTC, as `btrfs` prints it.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let parsed = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z");
    parsed.ok().map(|time| time.with_timezone(&Utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What btrfs-progs 6.2 prints of a volume's snapshot, and of its copy on another node.
    const TAKEN: &str = "snapshots/v@2025-01-01T00:00:00.000001
	Name: 			v@2025-01-01T00:00:00.000001
	UUID: 			46083948-6a42-054a-abf5-96d6656ef82d
	Parent UUID: 		b2b92478-ca6e-0345-bf43-bcef1b236b46
	Received UUID: 		-
	Creation time: 		2025-01-01 00:00:00 +0000
	Subvolume ID: 		257
	Generation: 		7
	Gen at creation: 	7
	Parent ID: 		5
	Top level ID: 		5
	Flags: 			readonly
	Send transid: 		0
	Send time: 		2025-01-01 00:00:00 +0000
	Receive transid: 	0
	Receive time: 		-
	Snapshot(s):
";
    const RECEIVED: &str = "received/v@2025-01-01T00:00:00.000001
	Name: 			v@2025-01-01T00:00:00.000001
	UUID: 			45c8a6d2-42a3-7b40-b399-17729e412a0e
	Parent UUID: 		-
	Received UUID: 		46083948-6a42-054a-abf5-96d6656ef82d
	Flags: 			readonly
	Snapshot(s):
				snapshots/Flags: readonly
";

    #[test]
    fn a_snapshot_and_its_copy_have_the_same_origin() {
        let (taken, received) = (parse(TAKEN), parse(RECEIVED));
        assert!(taken.read_only && !taken.is_whole_copy());
        assert_eq!(taken.parent_uuid.as_deref(), Some("b2b92478-ca6e-0345-bf43-bcef1b236b46"));
        assert!(received.is_whole_copy());
        assert_eq!(received.parent_uuid, None);
        assert_eq!(taken.origin(), Some("46083948-6a42-054a-abf5-96d6656ef82d"));
        assert_eq!(taken.origin(), received.origin());
    }

    #[test]
    fn times_are_those_of_the_zone_that_is_printed() {
        let taken = parse(&TAKEN.replace(
            "Creation time: 		2025-01-01 00:00:00 +0000",
            "Creation time: 		2025-01-01 02:30:00 +0230",
        ));
        assert_eq!(taken.created_at.unwrap().to_rfc3339(), "2025-01-01T00:00:00+00:00");
        assert_eq!((taken.generation, taken.received_at), (Some(7), None));
        assert_eq!(parse(RECEIVED).held_since(), None);
        let line = |name: &str, time: &str| format!("\t{name}: \t\t2025-01-01 {time} +0000\n");
        let copy = line("Creation time", "10:00:00") + &line("Receive time", "10:00:05");
        assert_eq!(parse(&copy).held_since(), parse(&copy).created_at);
        let snapshot_of_it = line("Creation time", "11:00:00") + &line("Receive time", "10:00:05");
        assert_eq!(parse(&snapshot_of_it).held_since(), parse(&copy).received_at);
    }

    #[test]
    fn a_torn_copy_is_none() {
        let torn = RECEIVED
            .replace("Flags: 			readonly", "Flags: 			-")
            .replace("Received UUID: 		46083948-6a42-054a-abf5-96d6656ef82d", "Received UUID: 		-");
        let torn = parse(&torn);
        assert!(torn.is_torn() && !torn.is_whole_copy());
        assert!(!parse(TAKEN).is_torn() && !parse(RECEIVED).is_torn());
        assert_eq!(parse(""), Verified::default());
    }
}
