//! What `btrfs subvolume show` says.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::compare;
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
    /// The generation that it came to be in: the file system counts on, whatever the clock says.
    pub created_generation: Option<u64>,
    /// The generation in which it had arrived, or in which that had what it is a snapshot of.
    pub received_generation: Option<u64>,
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

    /// Whether it was made of that snapshot, and nothing was written to it since.
    pub fn is_untouched_copy_of(&self, snapshot: &Self) -> bool {
        self.parent_uuid.is_some()
            && self.parent_uuid == snapshot.uuid
            && self.generation.is_some()
            && self.generation == self.created_generation
    }

    /// Since when this node has had what it holds: a snapshot of a copy holds nothing newer than the copy.
    pub fn held_since(&self) -> Option<DateTime<Utc>> {
        match (self.created_at, self.received_at) {
            (Some(created), Some(received)) => Some(created.min(received)),
            (created, _) => created,
        }
    }

    /// What orders the snapshots of a file system by how new what they hold is: what the file system counts, and the time,
    /// which any clock may have put there, only where it does not say.
    pub fn order(&self) -> (Option<u64>, Option<DateTime<Utc>>) {
        (self.received_generation.or(self.created_generation), self.held_since())
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

/// The subvolumes below one, by their paths in it.
pub(super) async fn nested(path: &Path) -> Result<Vec<String>, CommandError> {
    let command = Command::new("btrfs").args(["subvolume", "list", "-o", "--"]).arg(path);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(parse_nested(&command.run(DEADLINE).await?.stdout, &name.unwrap_or_default()))
}

/// A line is `ID 262 gen 11 top level 258 path volumes/v/inner`: the path begins at the top of the file system or at what
/// is mounted of it.
fn parse_nested(text: &str, volume: &str) -> Vec<String> {
    let inner = format!("/{volume}/");
    let paths = text.lines().filter_map(|line| line.split_once(" path ")).map(|(_, path)| path);
    let in_it = |path: &str| {
        let rooted = format!("/{path}");
        rooted.split_once(&inner).map_or(path.to_owned(), |(_, rest)| rest.to_owned())
    };
    paths.map(in_it).collect()
}

/// Why the files of a directory are not in a volume.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// They could not be copied.
    #[error(transparent)]
    Copy(#[from] CommandError),
    /// The copy could not be compared with them.
    #[error("the copy can't be compared")]
    Compare(#[source] std::io::Error),
    /// The copy is another.
    #[error("the copy differs: {0}")]
    Differs(String),
}

/// Copies what is below a directory, with owners, modes, links and attributes, sockets and pipes as what they are, and
/// compares the copy by its content.
pub(super) async fn fill(path: &Path, directory: &Path) -> Result<(), FillError> {
    let copy = Command::new("cp").args(["--archive", "--reflink=auto", "--"]);
    copy.arg(directory.join(".")).arg(path).run(WALK).await?;
    let (original, copy) = (directory.to_owned(), path.to_owned());
    let compared = tokio::task::spawn_blocking(move || compare::difference(&original, &copy));
    let found = compared.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    match found.map_err(FillError::Compare)? {
        None => Ok(()),
        Some(difference) => Err(FillError::Differs(difference)),
    }
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
        created_generation: field("Gen at creation").and_then(|text| text.parse().ok()),
        received_generation: field("Receive transid")
            .and_then(|text| text.parse().ok())
            .filter(|generation| *generation > 0),
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
    fn subvolumes_in_a_volume_have_their_paths_in_it() {
        let listed = "ID 262 gen 11 top level 258 path volumes/p_data/n\nID 263 gen 12 top level 258 path var/volumes/p_data/a b/c\n";
        assert_eq!(parse_nested(listed, "p_data"), ["n", "a b/c"]);
        assert_eq!(parse_nested("ID 262 gen 11 top level 5 path p_data/n", "p_data"), ["n"]);
        assert!(parse_nested("", "p_data").is_empty());
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
