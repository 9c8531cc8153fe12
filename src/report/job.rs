//! What the job reports: the backup, where it is, and what retention did.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytesize::ByteSize;
use serde::Serialize;

use super::table;
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::backup::record::{Compressed, Facts};
use crate::backup::retention::{Decision, Plan, Reason};
use crate::backup::verdict::Verdict;
use crate::exit::Exit;
use crate::member::Refusal;

/// Filled while the job runs, so that it can be printed even if the job is cut short. The fields are an interface.
#[derive(Debug, Default, Serialize)]
pub struct JobReport {
    /// The stored backup's name, below the target.
    pub name: Option<String>,
    pub target: Option<String>,
    #[serde(flatten)]
    pub backup: Option<Facts>,
    /// Only of a compressed backup: what is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed: Option<Compressed>,
    /// What it is worth by the one before it.
    pub verdict: Option<Verdict>,
    /// What showed that the stored backup is the snapshot.
    pub confirmed: Option<Evidence>,
    /// Why the etcdutl that is here may not restore it.
    pub cannot_restore: Option<String>,
    /// Why a refresh token of rclone's is lost, and the next run may be refused.
    pub lost_token: Option<String>,
    /// Members that were not used.
    pub refused: Vec<RefusedMember>,
    /// Why nothing was pruned.
    pub held_back: Option<String>,
    /// The backups that a person has to decide about before anything is pruned again.
    pub holds: Vec<HeldBackup>,
    pub dry_run: bool,
    pub kept: Vec<DecidedBackup>,
    /// What retention chose to delete. What became of that is in `removed` and `failed`.
    pub planned: Vec<DecidedBackup>,
    /// By the listing after the deletion; where that failed, by rclone's word.
    pub removed: Vec<DecidedBackup>,
    /// Those that are still there.
    pub failed: Vec<String>,
    /// Those that were to be deleted, and of which it is not known whether they are gone.
    pub unknown: Vec<String>,
    /// How many other files are in the directory; they are never touched.
    pub foreign: usize,
    #[serde(skip)]
    pub stage: Stage,
}

/// How far the job has come, which is what counts if it is cut short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    #[default]
    NotStored,
    /// All bytes of the backup of this name may be there, which has no record yet.
    Sending(String),
    /// Stored and confirmed.
    Stored,
    /// What earlier runs left is removed last. Whether that is done changes nothing.
    Done(Exit),
    /// The same after a retention that failed, for this reason.
    Failed(Exit, String),
}

impl Stage {
    pub fn when_cut_short(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::NotStored => "what is unfinished does not count as a backup",
            Self::Sending(name) => {
                return Cow::Owned(format!(
                    "whether {name} is there is not known, and without a record it does not count"
                ));
            }
            Self::Stored | Self::Failed(..) => "the backup is safe, retention is not done",
            Self::Done(_) => "all is done, except that something of earlier runs may be left",
        })
    }
}

#[derive(Debug, Serialize)]
pub struct RefusedMember {
    pub endpoint: String,
    pub reason: String,
}

/// A backup that holds retention back, and the two commands of which one ends that.
#[derive(Clone, Debug, Serialize)]
pub struct HeldBackup {
    pub name: String,
    pub why: String,
    /// To run if this is the cluster now.
    pub accept: String,
    /// To run if it is not.
    pub dismiss: String,
}

/// A backup, and why it stays or goes.
#[derive(Clone, Debug, Serialize)]
pub struct DecidedBackup {
    pub name: String,
    pub reasons: Vec<Reason>,
}

impl JobReport {
    pub fn taken(&mut self, facts: &Facts, compressed: Option<&Compressed>) {
        (self.backup, self.compressed) = (Some(facts.clone()), compressed.cloned());
    }

    pub fn refuse(&mut self, refusals: &[Refusal]) {
        let refused = refusals.iter();
        self.refused
            .extend(refused.map(|r| RefusedMember { endpoint: r.endpoint.to_string(), reason: r.reason.clone() }));
    }

    pub fn hold_back(&mut self, why: String) {
        tracing::warn!("retention is held back: {why}");
        self.held_back = Some(why);
    }

    pub fn plan(&mut self, plan: &Plan) {
        self.kept = plan.keep.iter().map(DecidedBackup::from).collect();
        self.planned = plan.remove.iter().map(DecidedBackup::from).collect();
    }

    /// From now on it is not known which of the planned backups are gone.
    pub fn begin_deleting(&mut self) {
        self.unknown = self.planned.iter().map(|planned| planned.name.clone()).collect();
    }

    /// rclone says that these files, without their directory, are gone.
    pub fn said_deleted(&mut self, leaves: &[String]) {
        let leaves: BTreeSet<&str> = leaves.iter().map(String::as_str).collect();
        let said = |name: &str| name.rsplit('/').next().is_some_and(|leaf| leaves.contains(leaf));
        let gone: BTreeSet<String> = self.unknown.extract_if(.., |name| said(name)).collect();
        self.removed.extend(self.planned.iter().filter(|planned| gone.contains(&planned.name)).cloned());
    }

    /// What the listing after the deletion shows.
    pub fn deleted(&mut self, removed: &[BackupName], failed: &[BackupName]) {
        let removed: BTreeSet<_> = removed.iter().map(ToString::to_string).collect();
        self.removed = self.planned.iter().filter(|planned| removed.contains(&planned.name)).cloned().collect();
        self.failed = failed.iter().map(ToString::to_string).collect();
        self.unknown.clear();
    }

    pub fn known_of_deletion(&self) -> String {
        let (removed, unknown) = (self.removed.len(), self.unknown.len());
        format!("of {} backups to delete, {removed} are deleted, and it is not known of {unknown}", removed + unknown)
    }

    /// Labels and values, one pair for each line.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        if let Some(name) = &self.name {
            lines.push(("stored", format!("{name} in {}", self.target.as_deref().unwrap_or_default())));
        }
        lines.extend(self.backup.iter().flat_map(backup_lines));
        lines.extend(self.confirmed.map(|evidence| ("confirmed", format!("by {evidence}"))));
        lines.extend(self.verdict.iter().filter_map(|verdict| Some(("NOT good", verdict.why()?.to_owned()))));
        lines.extend(self.cannot_restore.iter().map(|why| ("warning", why.clone())));
        lines.extend(self.lost_token.iter().map(|why| ("NOT saved", why.clone())));
        lines.extend(self.refused.iter().map(|r| ("not used", format!("{}: {}", r.endpoint, r.reason))));
        lines.extend(self.retention_lines());
        lines
    }

    fn retention_lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let why = if self.holds.is_empty() { self.held_back.as_deref() } else { Some("a person has to decide first") };
        lines.extend(why.map(|why| ("held back", format!("nothing was pruned: {why}"))));
        lines.extend(HeldBackup::all_lines(&self.holds));
        if self.dry_run {
            lines.extend(self.kept.iter().map(|kept| ("keep", kept.to_string())));
            lines.extend(self.planned.iter().map(|planned| ("would go", planned.to_string())));
        } else if !self.kept.is_empty() {
            let plural = if self.kept.len() == 1 { "" } else { "s" };
            lines.push(("kept", format!("{} backup{plural}", self.kept.len())));
        }
        lines.extend(self.removed.iter().map(|removed| ("removed", removed.to_string())));
        lines.extend(self.failed.iter().map(|name| ("NOT gone", name.clone())));
        lines.extend(self.unknown.iter().map(|name| ("unknown", format!("{name}, which was to be deleted"))));
        if self.foreign > 0 {
            let plural = if self.foreign == 1 { "" } else { "s" };
            lines.push(("foreign", format!("{} other file{plural}, never touched", self.foreign)));
        }
        lines
    }
}

fn backup_lines(backup: &Facts) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("size", format!("{} ({} bytes)", ByteSize(backup.bytes), backup.bytes)),
        ("sha256", backup.sha256.clone()),
        ("content", format!("revision {}, {} keys", backup.revision, backup.keys)),
        ("member", member_line(backup)),
    ];
    lines.extend(backup.degraded.iter().map(|why| ("degraded", why.clone())));
    lines
}

fn member_line(backup: &Facts) -> String {
    let Facts { member, member_id, etcd_version, cluster_id, .. } = backup;
    let known = |text: &Option<String>| table::known(text.as_ref());
    format!("{} ({}), etcd {}, cluster {}", known(member), known(member_id), known(etcd_version), known(cluster_id))
}

/// How many backups that hold retention back are shown to people, the newest first. To accept one covers earlier ones.
pub const HOLDS_SHOWN: usize = 3;

impl HeldBackup {
    pub fn all_lines(holds: &[Self]) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = holds.iter().take(HOLDS_SHOWN).flat_map(Self::lines).collect();
        if let Some(more) = holds.len().checked_sub(HOLDS_SHOWN).filter(|more| *more > 0) {
            lines.push(("", format!("and {more} more, as `etcd-backup list` shows")));
        }
        lines
    }

    fn lines(&self) -> [(&'static str, String); 3] {
        [
            ("decide", format!("{} {}", self.name, self.why)),
            ("", format!("if this is the cluster now: {}", self.accept)),
            ("", format!("if it is not: {}", self.dismiss)),
        ]
    }
}

impl From<&Decision> for DecidedBackup {
    fn from(decision: &Decision) -> Self {
        Self { name: decision.name.to_string(), reasons: decision.reasons.clone() }
    }
}

impl std::fmt::Display for DecidedBackup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let reasons: Vec<_> = self.reasons.iter().map(ToString::to_string).collect();
        write!(f, "{} ({})", self.name, reasons.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::catalog::Class;
    use crate::backup::catalog::tests::entry;
    use crate::backup::retention::{Spared, plan};

    fn name(leaf: &str) -> BackupName {
        BackupName::parse(&"p-".parse().unwrap(), &format!("p-{leaf}.etcdb")).unwrap()
    }

    fn planned() -> JobReport {
        let policy = crate::backup::retention::Policy {
            max_age: None,
            max_count: std::num::NonZeroUsize::new(1),
            keep_last: std::num::NonZeroUsize::MIN,
        };
        let newest_first = ["202601030000", "202601020000", "202601010000"];
        let entries = newest_first.map(|leaf| entry(name(leaf), Class::Good));
        let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut report = JobReport::default();
        report.plan(&plan(&entries, Spared::default(), &policy, now));
        report
    }

    #[test]
    fn a_plan_is_not_yet_a_deletion() {
        let report = planned();
        assert_eq!((report.kept.len(), report.planned.len()), (1, 2));
        assert!(report.removed.is_empty() && report.failed.is_empty());
    }

    #[test]
    fn what_was_deleted_keeps_its_reasons() {
        let mut report = planned();
        report.deleted(&[name("202601010000")], &[name("202601020000")]);
        assert_eq!(report.planned.len(), 2);
        let lines: Vec<_> = report.lines().into_iter().map(|(label, value)| format!("{label}: {value}")).collect();
        assert_eq!(
            lines,
            [
                "kept: 1 backup",
                "removed: p-202601010000.etcdb (beyond the count limit)",
                "NOT gone: p-202601020000.etcdb"
            ]
        );
    }

    #[test]
    fn what_is_known_of_a_deletion_is_said_whenever_it_ends() {
        let mut report = planned();
        report.begin_deleting();
        assert_eq!((report.removed.len(), report.unknown.len()), (0, 2));
        report.said_deleted(&["p-202601010000.etcdb".to_owned()]);
        let lines: Vec<_> = report.lines().into_iter().map(|(label, value)| format!("{label}: {value}")).collect();
        assert_eq!(
            lines,
            [
                "kept: 1 backup",
                "removed: p-202601010000.etcdb (beyond the count limit)",
                "unknown: p-202601020000.etcdb, which was to be deleted"
            ]
        );
        assert_eq!(report.known_of_deletion(), "of 2 backups to delete, 1 are deleted, and it is not known of 1");
        // The listing has the last word.
        report.deleted(&[], &[name("202601010000"), name("202601020000")]);
        assert!(report.removed.is_empty() && report.unknown.is_empty(), "{report:?}");
    }

    #[test]
    fn a_dry_run_says_what_would_go() {
        let report = JobReport { dry_run: true, ..planned() };
        let labels: Vec<_> = report.lines().into_iter().map(|(label, _)| label).collect();
        assert_eq!(labels, ["keep", "would go", "would go"]);
    }

    /// With something quadratic this would take minutes.
    #[test]
    fn the_deletion_of_very_many_is_reported_at_once() {
        let leaf = |i: u32| format!("p-{i:06}.etcdb");
        let planned = |i| DecidedBackup { name: format!("dir/{}", leaf(i)), reasons: vec![Reason::Expired] };
        let mut report = JobReport { planned: (0..100_000).map(planned).collect(), ..JobReport::default() };
        let begun = std::time::Instant::now();
        report.begin_deleting();
        report.said_deleted(&(0..99_999).map(leaf).collect::<Vec<_>>());
        assert_eq!((report.removed.len(), report.unknown.as_slice()), (99_999, &["dir/p-099999.etcdb".to_owned()][..]));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
