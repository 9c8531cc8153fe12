//! What a backup holds, for people and for machines.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::tally::{Size, Tally};
use crate::inspect::line::shown;
use crate::report::table::{Align, Table};
use crate::snapshot::{Alarm, Digest, Facts, RecordedMember};

/// Rows of a table for people; machines get all of them.
const ROWS: usize = 20;
/// Characters of the longest bar.
const BAR: u64 = 30;

/// Everything about one backup.
#[derive(Debug)]
pub struct Summary<'a> {
    /// Which backup.
    pub name: &'a str,
    /// Its size and hash.
    pub digest: &'a Digest,
    /// What its pages hold.
    pub facts: &'a Facts,
    /// The members that it records.
    pub members: Vec<RecordedMember>,
    /// The alarms that were raised.
    pub alarms: Vec<Alarm>,
    /// Sizes by resource and namespace.
    pub tally: Tally,
}

impl Summary<'_> {
    /// For machines.
    pub fn json(&self) -> Value {
        let facts = self.facts;
        let members = self.members.iter().map(|member| {
            json!({
                "id": format!("{:x}", member.id),
                "name": member.name,
                "peer_urls": member.peer_urls,
                "client_urls": member.client_urls,
                "learner": member.is_learner,
            })
        });
        let alarms =
            self.alarms.iter().map(|alarm| json!({ "member": format!("{:x}", alarm.member), "alarm": kind(alarm) }));
        json!({
            "name": self.name,
            "bytes": self.digest.bytes,
            "sha256": self.digest.sha256,
            "db_bytes": facts.db_bytes,
            "hash": facts.hash,
            "revision": facts.revision,
            "last_key_revision": facts.last_key_revision,
            "compact_revision": facts.compact_revision,
            "keys": facts.live_keys,
            "changes": facts.revisions,
            "history": facts.revisions.saturating_sub(facts.live_keys),
            "total_keys": facts.total_keys,
            "consistent_index": facts.consistent_index,
            "term": facts.term,
            "storage_version": facts.storage_version,
            "cluster_version": facts.cluster_version,
            "members": members.collect::<Vec<_>>(),
            "alarms": alarms.collect::<Vec<_>>(),
            "resources": rows(&self.tally.resources, "resource"),
            "namespaces": rows(&self.tally.namespaces, "namespace"),
            "cluster_scoped": self.tally.cluster_scoped,
            "other": self.tally.other,
        })
    }

    /// For people; with bars where somebody looks at it.
    pub fn text(&self, bars: bool) -> String {
        let mut out = String::new();
        for (label, value) in self.lines() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{label:<17} {value}");
        }
        let none = Size::default();
        let mut resources = largest(&self.tally.resources);
        resources.extend((self.tally.other != none).then_some(("(not Kubernetes)", self.tally.other)));
        table(&mut out, "RESOURCE", &resources, bars);
        let mut namespaces = largest(&self.tally.namespaces);
        namespaces.extend((self.tally.cluster_scoped != none).then_some(("(none)", self.tally.cluster_scoped)));
        table(&mut out, "NAMESPACE", &namespaces, bars);
        out
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let (facts, digest) = (self.facts, self.digest);
        let unknown = || "not recorded".to_owned();
        let number = |number: Option<u64>| number.map_or_else(unknown, |number| number.to_string());
        let old = facts.revisions.saturating_sub(facts.live_keys);
        let mut lines = vec![
            ("backup", self.name.to_owned()),
            ("size", format!("{} ({} bytes)", ByteSize(digest.bytes), digest.bytes)),
            ("sha256", digest.sha256.clone()),
            ("hash", format!("{:x} (as etcdutl snapshot status prints it)", facts.hash)),
            ("revision", format!("{}, can be read back to {}", facts.revision, facts.compact_revision.max(1))),
            ("live keys", facts.live_keys.to_string()),
            ("history", format!("{old} older values and deletions; {} pairs in all buckets", facts.total_keys)),
            ("storage version", facts.storage_version.clone()),
            ("cluster version", facts.cluster_version.clone().unwrap_or_else(unknown)),
            ("consistent index", format!("{}, term {}", number(facts.consistent_index), number(facts.term))),
        ];
        lines.extend(self.members.iter().map(|member| ("member", described(member))));
        let alarm = |alarm: &Alarm| ("alarm", format!("{} on member {:x}", kind(alarm), alarm.member));
        lines.extend(self.alarms.iter().map(alarm));
        lines
    }
}

fn described(member: &RecordedMember) -> String {
    let name = if member.name.is_empty() { "(never started)".to_owned() } else { shown(member.name.as_bytes()) };
    let urls = |urls: &[String]| if urls.is_empty() { "none".to_owned() } else { shown(urls.join(",").as_bytes()) };
    let role = if member.is_learner { ", learner" } else { "" };
    format!("{:x} {name}, peers {}, clients {}{role}", member.id, urls(&member.peer_urls), urls(&member.client_urls))
}

fn kind(alarm: &Alarm) -> String {
    match alarm.kind {
        1 => "NOSPACE".into(),
        2 => "CORRUPT".into(),
        other => other.to_string(),
    }
}

/// The largest first; equal ones by name.
fn largest(groups: &HashMap<Box<str>, Size>) -> Vec<(&str, Size)> {
    let mut rows: Vec<_> = groups.iter().map(|(name, size)| (name.as_ref(), *size)).collect();
    rows.sort_by(|(a, x), (b, y)| (y.bytes, y.old_bytes, a).cmp(&(x.bytes, x.old_bytes, b)));
    rows
}

fn rows(groups: &HashMap<Box<str>, Size>, label: &str) -> Vec<Value> {
    let row = |(name, size)| {
        let mut row = json!(size);
        row[label] = Value::from(name);
        row
    };
    largest(groups).into_iter().map(row).collect()
}

fn table(out: &mut String, label: &str, rows: &[(&str, Size)], bars: bool) {
    if rows.is_empty() {
        return;
    }
    let right = Align::Right;
    let head = [(label, Align::Left), ("KEYS", right), ("SIZE", right), ("HISTORY", right), ("", Align::Left)];
    let mut table = Table::new(head);
    let (first, rest) = rows.split_at(rows.len().min(ROWS));
    let mut lines: Vec<_> = first.iter().map(|(name, size)| (shown(name.as_bytes()), *size)).collect();
    if !rest.is_empty() {
        let sum = rest.iter().fold(Size::default(), |sum, (_, size)| sum.and(size));
        lines.push((format!("({} more)", rest.len()), sum));
    }
    let most = lines.iter().map(|(_, size)| size.bytes).max().unwrap_or_default();
    for (name, size) in lines {
        let bar = if bars { bar(size.bytes, most) } else { String::new() };
        let (live, old) = (ByteSize(size.bytes).to_string(), ByteSize(size.old_bytes).to_string());
        table.row([name, size.keys.to_string(), live, old, bar]);
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "\n{table}");
}

/// As long, in eighths of a character, as `bytes` is large.
fn bar(bytes: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let wanted = u128::from(bytes) * u128::from(BAR * 8) / u128::from(most.max(1));
    // Never longer than the whole bar, which fits.
    let wanted = usize::try_from(wanted).unwrap_or_default();
    let end = EIGHTHS.get(wanted % 8).copied().unwrap_or_default();
    "█".repeat(wanted / 8) + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(bytes: u64) -> Size {
        Size { keys: 1, bytes, old_changes: 2, old_bytes: 3 }
    }

    #[test]
    fn bars_are_as_long_as_sizes_are_large() {
        assert_eq!(bar(100, 100).chars().count(), 30);
        assert_eq!(bar(50, 100), "█".repeat(15));
        assert_eq!(bar(1, 240), "▏");
        assert_eq!((bar(0, 100), bar(0, 0)), (String::new(), String::new()));
        assert_eq!(bar(u64::MAX, u64::MAX).chars().count(), 30);
    }

    #[test]
    fn the_largest_are_shown_and_the_rest_is_summed_up() {
        let names: Vec<_> = (0..25).map(|i| format!("r{i:02}")).collect();
        let groups = names.iter().zip(1..).map(|(name, bytes)| (name.as_str().into(), size(bytes))).collect();
        let mut out = String::new();
        table(&mut out, "resource", &largest(&groups), true);
        let lines: Vec<_> = out.trim_start().lines().collect();
        assert_eq!(lines.len(), 22);
        assert!(lines[1].starts_with("r24 ") && lines[1].ends_with(&"█".repeat(30)), "{out}");
        let columns: Vec<_> = lines[21].split_whitespace().collect();
        assert_eq!(columns[..6], ["(5", "more)", "5", "15", "B", "15"], "{out}");
    }
}
