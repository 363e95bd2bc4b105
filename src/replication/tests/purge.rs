//! buttervolume 3.13's purge, told again in the order of its own text: the model that the properties are shown with. The
//! lab shows them with the real one.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, Utc};

/// What a purge of these files by this pattern (in minutes) removes at that time.
pub(super) fn purged(files: &[String], pattern: &[i64], now: DateTime<Utc>) -> BTreeSet<String> {
    let mut pattern = pattern.to_vec();
    pattern.sort_by_key(|minutes| std::cmp::Reverse(*minutes));
    let mut files = files.to_vec();
    files.sort();
    let age = |file: &String| {
        let time = file.split('@').nth(1)?;
        let time = NaiveDateTime::parse_from_str(time, "%Y-%m-%dT%H:%M:%S%.6f").ok()?;
        Some((file.clone(), (now.naive_utc() - time).num_seconds() as f64 / 60.0))
    };
    let ages: Vec<_> = files.iter().filter_map(age).collect();
    let max = pattern[0] as f64;
    let mut purged = BTreeSet::new();
    for segment in pattern.windows(2) {
        let (oldest, frame) = (segment[0] as f64, segment[1] as f64);
        let mut last = -1.0;
        for (file, age) in &ages {
            if (*age > oldest && oldest < max) || *age < frame {
                continue;
            }
            let number = (age / frame).floor();
            if number == last || *age > max {
                purged.insert(file.clone());
            }
            last = number;
        }
    }
    purged
}

#[test]
fn a_purge_takes_marks_and_the_newest_of_a_frame_and_passes_over_what_is_kept() {
    let now = DateTime::parse_from_rfc3339("2025-06-02T12:00:00Z").unwrap().with_timezone(&Utc);
    let files: Vec<_> = [
        "v@2025-06-01T10:00:00.000000",
        "v@2025-06-01T10:20:00.000000-kept",
        "v@2025-06-01T10:20:00.000000-kept@10.0.0.2",
        "v@2025-06-02T10:05:00.000000",
        "v@2025-06-02T10:05:00.000000@10.0.0.2",
        "v@2025-06-02T11:30:00.000000",
        "v@2025-06-02T11:30:00.000000@10.0.0.2",
    ]
    .map(str::to_owned)
    .into();
    let of_the_day = purged(&files, &[60, 1440], now);
    let expected = ["v@2025-06-01T10:00:00.000000", "v@2025-06-02T10:05:00.000000@10.0.0.2"];
    assert_eq!(of_the_day, expected.map(str::to_owned).into());
    let all_but_kept = purged(&files, &[1, 1], now);
    assert_eq!(all_but_kept.len(), 5);
    assert!(all_but_kept.iter().all(|file| !file.contains("kept")));
}
