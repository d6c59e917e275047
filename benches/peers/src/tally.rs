//! What the critical sections of a shared name tell.

use std::collections::BTreeMap;

use crate::{
    kit::{at_share, jain},
    metric::{Figures, Metric},
    order::Section,
};

/// Adds what the sections tell of those `seconds` that begin at `start`. Waits and overlaps are those of all sections, also
/// of the last ones, which end after the time.
pub(crate) fn add(figures: &mut Figures, mut sections: Vec<Section>, start: u64, seconds: f64) {
    sections.sort_by_key(|section| (section.granted, section.released));
    let end = start + (seconds * 1e6) as u64;
    let (mut moved, mut in_time, mut wake_ups) = (0, 0, Vec::new());
    for pair in sections.windows(2) {
        if let [before, after] = pair
            && after.task != before.task
        {
            moved += u64::from(after.released <= end);
            wake_ups.push(after.granted.saturating_sub(before.released));
        }
    }
    let mut had = BTreeMap::<u64, u64>::new();
    for section in &sections {
        let counted = u64::from(section.released <= end);
        *had.entry(section.task).or_default() += counted;
        in_time += counted;
    }
    let wait = |section: &Section| section.granted.saturating_sub(section.asked);
    let waits: Vec<u64> = sections.iter().map(wait).collect();
    let writers = sections.iter().filter(|section| section.writes);
    let write_waits: Vec<u64> = writers.map(wait).collect();
    let mut add = |metric, figure| {
        figures.insert(metric, figure);
    };
    add(Metric::Pairs, in_time as f64 / seconds);
    add(Metric::Moved, moved as f64 / seconds);
    add(Metric::MovedShare, moved as f64 / (in_time as f64).max(1.0));
    add(Metric::WakeUp, at_share(wake_ups, 0.5));
    add(Metric::WaitMiddle, at_share(waits.clone(), 0.5) / 1e3);
    add(Metric::WaitMost, at_share(waits.clone(), 0.99) / 1e3);
    add(Metric::WaitLongest, at_share(waits, 1.0) / 1e3);
    add(Metric::WriteWaitMost, at_share(write_waits, 0.99) / 1e3);
    add(Metric::Jain, jain(had.values().copied()));
    add(Metric::Overlaps, overlaps(&sections) as f64);
}

/// How many sections began while another was inside that excludes them; sorted by their beginning. A reader excludes
/// writers only.
fn overlaps(sections: &[Section]) -> u64 {
    let (mut found, mut reading_until, mut writing_until) = (0, 0, 0);
    for section in sections {
        let meets =
            section.granted < writing_until || (section.writes && section.granted < reading_until);
        found += u64::from(meets);
        let until = if section.writes {
            &mut writing_until
        } else {
            &mut reading_until
        };
        *until = section.released.max(*until);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(task: u64, writes: bool, granted: u64, released: u64) -> Section {
        Section {
            task,
            writes,
            asked: 0,
            granted,
            released,
        }
    }

    #[test]
    fn who_meets_whom() {
        let apart = [section(0, true, 1, 5), section(1, true, 5, 8)];
        assert_eq!(overlaps(&apart), 0);
        let meet = [section(0, true, 1, 5), section(1, true, 4, 8)];
        assert_eq!(overlaps(&meet), 1);
        let readers = [section(0, false, 1, 5), section(1, false, 4, 8)];
        assert_eq!(overlaps(&readers), 0);
        let writer = [section(0, false, 1, 5), section(1, true, 4, 8)];
        assert_eq!(overlaps(&writer), 1);
        let reader = [section(0, true, 1, 5), section(1, false, 4, 8)];
        assert_eq!(overlaps(&reader), 1);
    }

    #[test]
    fn what_sections_tell() {
        let sections = vec![
            section(0, true, 10, 20),
            section(1, true, 30, 40),
            section(1, true, 50, 60),
            section(0, true, 1_000_070, 1_000_080),
        ];
        let mut figures = Figures::new();
        add(&mut figures, sections, 0, 1.0);
        assert_eq!(figures[&Metric::Pairs], 3.0);
        assert_eq!(figures[&Metric::Moved], 1.0);
        assert_eq!(figures[&Metric::Jain], 0.9);
        assert_eq!(figures[&Metric::Overlaps], 0.0);
        assert_eq!(figures[&Metric::WaitLongest], 1000.07);
    }
}
