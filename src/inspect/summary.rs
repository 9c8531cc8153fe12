//! What a backup holds, as text and as JSON.

use std::collections::HashMap;
use std::fmt::Write as _;

use bytesize::ByteSize;
use serde_json::{Value, json};

use super::usage::{GroupUsage, Usage};
use crate::inspect::line::printable;
use crate::report::table::{Align, Table};
use crate::snapshot::{Alarm, Contents, FileHash, RecordedMember};

// Rows of a table in the text. The JSON has all of them.
const ROWS: usize = 20;
/// Characters of the longest bar.
const BAR: u64 = 30;

#[derive(Debug)]
pub struct Summary<'a> {
    pub name: &'a str,
    pub file: &'a FileHash,
    pub contents: &'a Contents,
    pub members: Vec<RecordedMember>,
    pub alarms: Vec<Alarm>,
    pub usage: Usage,
}

impl Summary<'_> {
    pub fn json(&self) -> Value {
        let contents = self.contents;
        json!({
            "name": self.name,
            "bytes": self.file.bytes,
            "sha256": self.file.sha256,
            "db_bytes": contents.db_bytes,
            "hash": contents.hash,
            "revision": contents.revision,
            "last_key_revision": contents.last_key_revision,
            "compact_revision": contents.compact_revision,
            "keys": contents.live_keys,
            "changes": contents.revisions,
            "history": contents.revisions.saturating_sub(contents.live_keys),
            "total_keys": contents.total_keys,
            "consistent_index": contents.consistent_index,
            "term": contents.term,
            "storage_version": contents.storage_version,
            "cluster_version": contents.cluster_version,
            "members": self.members.iter().map(member_json).collect::<Vec<_>>(),
            "alarms": self.alarms.iter().map(alarm_json).collect::<Vec<_>>(),
            "resources": rows(&self.usage.resources, "resource"),
            "namespaces": rows(&self.usage.namespaces, "namespace"),
            "cluster_scoped": self.usage.cluster_scoped,
            "other": self.usage.other,
        })
    }

    /// For a terminal; `bars` draws the sizes too.
    pub fn text(&self, bars: bool) -> String {
        let mut out = String::new();
        for (label, value) in self.lines() {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{label:<17} {value}");
        }
        let none = GroupUsage::default();
        let mut resources = largest(&self.usage.resources);
        resources.extend((self.usage.other != none).then_some(("(not Kubernetes)", self.usage.other)));
        table(&mut out, "RESOURCE", &resources, bars);
        let mut namespaces = largest(&self.usage.namespaces);
        namespaces.extend((self.usage.cluster_scoped != none).then_some(("(none)", self.usage.cluster_scoped)));
        table(&mut out, "NAMESPACE", &namespaces, bars);
        out
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let (contents, file) = (self.contents, self.file);
        let unknown = || "not recorded".to_owned();
        let number = |number: Option<u64>| number.map_or_else(unknown, |number| number.to_string());
        let old = contents.revisions.saturating_sub(contents.live_keys);
        let mut lines = vec![
            ("backup", self.name.to_owned()),
            ("size", format!("{} ({} bytes)", ByteSize(file.bytes), file.bytes)),
            ("sha256", file.sha256.clone()),
            ("hash", format!("{:x} (as etcdutl snapshot status prints it)", contents.hash)),
            ("revision", format!("{}, can be read back to {}", contents.revision, contents.compact_revision.max(1))),
            ("live keys", contents.live_keys.to_string()),
            ("history", format!("{old} older values and deletions; {} pairs in all buckets", contents.total_keys)),
            ("storage version", contents.storage_version.clone()),
            ("cluster version", contents.cluster_version.clone().unwrap_or_else(unknown)),
            ("consistent index", format!("{}, term {}", number(contents.consistent_index), number(contents.term))),
        ];
        lines.extend(self.members.iter().map(|member| ("member", member_line(member))));
        let alarm = |alarm: &Alarm| ("alarm", format!("{} on member {:x}", alarm_name(alarm), alarm.member));
        lines.extend(self.alarms.iter().map(alarm));
        lines
    }
}

fn member_json(member: &RecordedMember) -> Value {
    json!({
        // In hexadecimal, as etcdctl prints it. As a JSON number, 64 bits would lose digits in many readers.
        "id": format!("{:x}", member.id),
        "name": member.name,
        "peer_urls": member.peer_urls,
        "client_urls": member.client_urls,
        "learner": member.is_learner,
    })
}

fn alarm_json(alarm: &Alarm) -> Value {
    json!({ "member": format!("{:x}", alarm.member), "alarm": alarm_name(alarm) })
}

fn member_line(member: &RecordedMember) -> String {
    let name = if member.name.is_empty() { "(never started)".to_owned() } else { printable(member.name.as_bytes()) };
    let urls = |urls: &[String]| if urls.is_empty() { "none".to_owned() } else { printable(urls.join(",").as_bytes()) };
    let role = if member.is_learner { ", learner" } else { "" };
    format!("{:x} {name}, peers {}, clients {}{role}", member.id, urls(&member.peer_urls), urls(&member.client_urls))
}

fn alarm_name(alarm: &Alarm) -> String {
    match alarm.kind {
        1 => "NOSPACE".into(),
        2 => "CORRUPT".into(),
        other => other.to_string(),
    }
}

/// The largest first; those of the same size by name.
fn largest(groups: &HashMap<Box<str>, GroupUsage>) -> Vec<(&str, GroupUsage)> {
    let mut rows: Vec<_> = groups.iter().map(|(name, usage)| (name.as_ref(), *usage)).collect();
    rows.sort_by(|(a, x), (b, y)| (y.bytes, y.old_bytes, a).cmp(&(x.bytes, x.old_bytes, b)));
    rows
}

fn rows(groups: &HashMap<Box<str>, GroupUsage>, label: &str) -> Vec<Value> {
    let row = |(name, usage)| {
        let mut row = json!(usage);
        row[label] = Value::from(name);
        row
    };
    largest(groups).into_iter().map(row).collect()
}

fn table(out: &mut String, label: &str, rows: &[(&str, GroupUsage)], bars: bool) {
    if rows.is_empty() {
        return;
    }
    let right = Align::Right;
    let head = [(label, Align::Left), ("KEYS", right), ("SIZE", right), ("HISTORY", right), ("", Align::Left)];
    let mut table = Table::new(head);
    let (first, rest) = rows.split_at(rows.len().min(ROWS));
    let mut lines: Vec<_> = first.iter().map(|(name, usage)| (printable(name.as_bytes()), *usage)).collect();
    if !rest.is_empty() {
        let sum = rest.iter().fold(GroupUsage::default(), |sum, (_, usage)| sum.plus(usage));
        lines.push((format!("({} more)", rest.len()), sum));
    }
    let most = lines.iter().map(|(_, usage)| usage.bytes).max().unwrap_or_default();
    for (name, usage) in lines {
        let bar = if bars { bar(usage.bytes, most) } else { String::new() };
        let (live, old) = (ByteSize(usage.bytes).to_string(), ByteSize(usage.old_bytes).to_string());
        table.row([name, usage.keys.to_string(), live, old, bar]);
    }
    // Writing to a string cannot fail.
    let _ = write!(out, "\n{table}");
}

fn bar(bytes: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    // In 128 bits, because the product can be more than 64 bits hold.
    let eighths = u128::from(bytes) * u128::from(BAR * 8) / u128::from(most.max(1));
    // At most 240, as `bytes` is at most `most`.
    let eighths = usize::try_from(eighths).unwrap_or_default();
    let end = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    "█".repeat(eighths / 8) + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(bytes: u64) -> GroupUsage {
        GroupUsage { keys: 1, bytes, old_changes: 2, old_bytes: 3 }
    }

    #[test]
    fn members_and_alarms_are_named() {
        let mut member = RecordedMember {
            id: 0xcafe,
            name: "m1\u{1b}[2J".into(),
            peer_urls: vec!["http://a:2380".into(), "http://b:2380".into()],
            client_urls: vec![],
            is_learner: false,
        };
        // A name is free text: it must not reach the terminal as a control sequence.
        assert_eq!(member_line(&member), r"cafe m1\x1b[2J, peers http://a:2380,http://b:2380, clients none");
        member.name.clear();
        member.is_learner = true;
        assert!(member_line(&member).starts_with("cafe (never started), "), "{}", member_line(&member));
        assert!(member_line(&member).ends_with(", learner"), "{}", member_line(&member));
        let names = [1, 2, 7].map(|kind| alarm_name(&Alarm { member: 1, kind }));
        assert_eq!(names, ["NOSPACE", "CORRUPT", "7"]);
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
