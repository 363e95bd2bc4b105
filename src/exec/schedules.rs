//! What buttervolume's scheduler has to do with the volumes of an app, by the node's role. Pure.

use crate::config::VolumeConfig;
use crate::host::volume::{Action, Schedule};
use crate::model::Role;

/// Actions and minutes. `slave`: the address of the node that holds the copies, where there is one.
pub(crate) fn wanted(
    role: Role,
    slave: Option<&str>,
    settings: &VolumeConfig,
) -> Vec<(Action, u32)> {
    let purge = (Action::Purge(settings.purge_pattern.clone()), settings.purge_minutes);
    let first = match (role, slave) {
        (Role::Master, Some(address)) => {
            Some((Action::Replicate(address.to_owned()), settings.replicate_minutes))
        }
        (Role::Master, None) => Some((Action::Snapshot, settings.snapshot_minutes)),
        (Role::Replica, _) => None,
        (Role::Bystander, _) => return Vec::new(),
    };
    first.into_iter().chain([purge]).collect()
}

/// What makes the scheduler's table right for some volumes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Volume, action, minutes.
    pub(crate) set: Vec<(String, Action, u32)>,
    /// Volume, action.
    pub(crate) unset: Vec<(String, Action)>,
}

impl Changes {
    /// Whether the table is right.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.unset.is_empty()
    }
}

/// What is missing in the table or wrong in it. What an operator has paused, or added of another kind, stays.
pub(crate) fn changes(volumes: &[String], wanted: &[(Action, u32)], found: &[Schedule]) -> Changes {
    let mut changes = Changes::default();
    for volume in volumes {
        let own: Vec<_> = found.iter().filter(|schedule| schedule.volume == *volume).collect();
        for (action, minutes) in wanted {
            let is_right = |schedule: &&&Schedule| {
                schedule.action == *action && (schedule.minutes == *minutes || !schedule.active)
            };
            if !own.iter().any(|schedule| is_right(&schedule)) {
                changes.set.push((volume.clone(), action.clone(), *minutes));
            }
        }
        let surplus = own.into_iter().filter(|schedule| {
            let is_ours = !matches!(schedule.action, Action::Other(_));
            is_ours && !wanted.iter().any(|(action, _)| *action == schedule.action)
        });
        changes.unset.extend(surplus.map(|schedule| (volume.clone(), schedule.action.clone())));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(action: &str, minutes: u32) -> Schedule {
        let action = Action::parse(action);
        Schedule { volume: "p_data".to_owned(), action, minutes, active: true }
    }

    #[test]
    fn an_empty_table_is_filled_and_a_right_one_left_alone() {
        let volumes = ["p_data".to_owned()];
        let wanted =
            [(Action::parse("replicate:10.0.0.2"), 60), (Action::parse("purge:1h:1d"), 1440)];
        let missing = changes(&volumes, &wanted, &[]);
        assert_eq!(missing.set.len(), 2);
        let right = [schedule("replicate:10.0.0.2", 60), schedule("purge:1h:1d", 1440)];
        assert!(changes(&volumes, &wanted, &right).is_empty());
        let paused = right.clone().map(|line| Schedule { active: false, minutes: 0, ..line });
        assert!(changes(&volumes, &wanted, &paused).is_empty(), "an operator paused it");
    }

    #[test]
    fn a_former_address_and_a_former_role_are_taken_off() {
        let volumes = ["p_data".to_owned()];
        let wanted = [(Action::parse("replicate:10.0.0.9"), 60)];
        let found = [
            schedule("replicate:10.0.0.2", 60),
            schedule("snapshot", 60),
            schedule("synchronize:10.0.0.2", 60),
            Schedule { volume: "other".to_owned(), ..schedule("snapshot", 60) },
        ];
        let changes = changes(&volumes, &wanted, &found);
        assert_eq!(changes.set, [("p_data".to_owned(), Action::parse("replicate:10.0.0.9"), 60)]);
        let off: Vec<_> = changes.unset.iter().map(|(_, action)| action.to_string()).collect();
        assert_eq!(off, ["replicate:10.0.0.2", "snapshot"], "an operator's own kind stays");
    }
}
