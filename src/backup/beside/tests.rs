use super::super::evidence::Evidence;
use super::super::name::Compression;
use super::super::record::Compressed;
use super::super::record::tests::facts;
use super::super::verdict::{Compared, Identity, Suspicion, Verdict};
use super::*;
use chrono::TimeDelta;
use proptest::prelude::*;

const LEAF: &str = "p-202601020304.etcdb";
const OTHER: &str = "p-202601010304.etcdb";

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn name(leaf: &str) -> BackupName {
    BackupName::parse(&prefix("p-"), leaf).unwrap()
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_500_000 + second, 0).unwrap()
}

fn record(leaf: &str) -> Record {
    Record { facts: Some(facts()), verdict: Some(Verdict::Good), ..Record::new(&name(leaf)) }
}

fn note(leaf: &str, at: DateTime<Utc>, covers: &[&str]) -> Note {
    let covers = covers.iter().map(ToString::to_string).collect();
    Note { name: leaf.into(), prefix: "p-".into(), at, by: "jo".into(), covers, facts: None }
}

/// A file of the ruling, and its line.
fn ruled(ruling: Ruling, note: Note) -> (String, Line) {
    let file = ruling_file(&name(&note.name), note.at, ruling);
    (file, if ruling == Ruling::Accepted { Line::Accepted(note) } else { Line::Dismissed(note) })
}

fn text(lines: &[Line]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.encode(), vec![b'\n']].concat()).collect()
}

fn parsed(prefix_: &str, files: &[&str], text: &[u8]) -> Beside {
    Beside::parse(&prefix(prefix_), &files.iter().map(ToString::to_string).collect::<Vec<_>>(), text)
}

fn all(files: Vec<(String, Line)>) -> Beside {
    let (files, lines): (Vec<_>, Vec<_>) = files.into_iter().unzip();
    Beside::parse(&prefix("p-"), &files, &text(&lines))
}

fn latest(beside: &Beside, leaf: &str) -> Option<Ruling> {
    beside.rulings.get(leaf).and_then(|ruling| ruling.note.as_ref()).map(|(ruling, _)| *ruling)
}

/// What stands in stores is read by every later version.
#[test]
fn the_lines_do_not_change() {
    let full = Record {
        facts: Some(Facts { degraded: Some("the quorum is lost".into()), ..facts() }),
        verdict: Some(Verdict::Suspicious { reasons: vec![Suspicion::OlderState], why: "it is older".into() }),
        compared: Some(Compared { with: OTHER.into(), by: Identity::KubeSystemUid }),
        confirmed: Some(Evidence::ReadBack),
        tool: "1.2.3".into(),
        ..record(LEAF)
    };
    let taken = concat!(
        r#""taken_at":"1970-01-01T00:00:00Z","bytes":1,"sha256":"ab","revision":10,"keys":2,"hash":"1a2b","#,
        r#""storage_version":"3.5","kube_system":{"uid":"uid-a"},"member":"https://x:1","member_id":"1f","#,
        r#""cluster_id":"2f","etcd_version":"3.5.1","degraded":"#
    );
    let names = BTreeSet::from([LEAF.to_owned(), OTHER.to_owned()]);
    let since = Since { prefix: "p-".into(), at: at(0), names };
    let dismissed = Note { facts: Some(facts()), ..note(LEAF, at(0), &[LEAF]) };
    let golden = [
        (
            Line::Backup(full),
            [
                r#"{"schema":1,"of":"backup","name":"p-202601020304.etcdb","prefix":"p-","#,
                taken,
                r#""the quorum is lost","verdict":{"is":"suspicious","reasons":["older-state"],"why":"it is older"},"#,
                r#""compared":{"with":"p-202601010304.etcdb","by":"kube-system-uid"},"confirmed":"read-back","tool":"1.2.3"}"#,
            ]
            .concat(),
        ),
        (
            Line::Accepted(note(LEAF, at(0), &[LEAF, OTHER])),
            [
                r#"{"schema":1,"of":"accepted","name":"p-202601020304.etcdb","prefix":"p-","at":"2026-01-04T04:13:20Z","#,
                r#""by":"jo","covers":["p-202601020304.etcdb","p-202601010304.etcdb"],"facts":null}"#,
            ]
            .concat(),
        ),
        (
            Line::Dismissed(dismissed),
            [
                r#"{"schema":1,"of":"dismissed","name":"p-202601020304.etcdb","prefix":"p-","at":"2026-01-04T04:13:20Z","#,
                r#""by":"jo","covers":["p-202601020304.etcdb"],"facts":{"#,
                taken,
                "null}}",
            ]
            .concat(),
        ),
        (
            Line::Since(since),
            [
                r#"{"schema":1,"of":"since","prefix":"p-","at":"2026-01-04T04:13:20Z","#,
                r#""names":["p-202601010304.etcdb","p-202601020304.etcdb"]}"#,
            ]
            .concat(),
        ),
    ];
    for (line, golden) in golden {
        assert_eq!(String::from_utf8(line.encode()).unwrap(), golden);
        assert_eq!(Line::decode(golden.as_bytes()), Some(line));
    }
}

#[test]
fn a_compressed_backup_has_two_sizes_and_hashes() {
    let leaf = "p-202601020304.etcdb.zst";
    let compressed = Compressed { bytes: 7, sha256: "cd".into(), compression: Compression::Zstd };
    let record = Record { compressed: Some(compressed), ..record(leaf) };
    let (file, line) = (record_file(&name(leaf)), Line::Backup(record.clone()).encode());
    assert_eq!(file, "p-202601020304.etcdb.zst.json");
    let text = String::from_utf8(line.clone()).unwrap();
    let words = r#""degraded":null,"compressed":{"bytes":7,"sha256":"cd","compression":"zstd"},"verdict":"#;
    assert!(text.contains(words) && text.contains(r#""bytes":1,"sha256":"ab""#), "{text}");
    let beside = parsed("p-", &[&file], &line);
    assert_eq!(beside.records.get(leaf), Some(&Known::Read(record)));
    assert_eq!(beside.borne, [name(leaf)]);
    // It is told by the name that it was taken to have, when the record itself cannot be read.
    let (standing, later) = (BTreeSet::new(), name(leaf).taken_at(Tz::UTC) + TimeDelta::days(1));
    assert_eq!(parsed("p-", &[&file], b"").without_backup(&standing, later, Tz::UTC), [leaf]);
    let ruling = ruling_file(&name(leaf), at(0), Ruling::Dismissed);
    assert_eq!(ruling, "p-202601020304.etcdb.zst.20260104T041320Z.dismissed.json");
    let beside = all(vec![ruled(Ruling::Dismissed, note(leaf, at(0), &[leaf]))]);
    assert_eq!((latest(&beside, leaf), latest(&beside, LEAF)), (Some(Ruling::Dismissed), None));
}

#[test]
fn the_files_names_do_not_change() {
    let moment = DateTime::parse_from_rfc3339("2026-01-03T04:05:06Z").unwrap().to_utc();
    assert_eq!(record_file(&name(LEAF)), "p-202601020304.etcdb.json");
    let ruling = |ruling| ruling_file(&name(LEAF), moment, ruling);
    assert_eq!(ruling(Ruling::Accepted), "p-202601020304.etcdb.20260103T040506Z.accepted.json");
    assert_eq!(ruling(Ruling::Dismissed), "p-202601020304.etcdb.20260103T040506Z.dismissed.json");
    assert_eq!(since_file(&prefix("a/p-")), "p-.since.json");
    assert_eq!(since_file(&Prefix::default()), ".since.json");
}

#[test]
fn what_is_written_is_read_back() {
    let since = Since { prefix: "p-".into(), at: at(0), names: BTreeSet::from([OTHER.to_owned()]) };
    let note = note(LEAF, at(1), &[LEAF]);
    let beside = all(vec![
        (record_file(&name(LEAF)), Line::Backup(record(LEAF))),
        ruled(Ruling::Accepted, note.clone()),
        (since_file(&prefix("p-")), Line::Since(since.clone())),
    ]);
    assert_eq!(beside.records, BTreeMap::from([(LEAF.into(), Known::Read(record(LEAF)))]));
    assert_eq!(beside.since, Known::Read(since));
    let ruling = LatestRuling { at: at(1), note: Some((Ruling::Accepted, note)) };
    assert_eq!(beside.rulings, BTreeMap::from([(LEAF.into(), ruling)]));
    // A name that stood there first stays taken.
    assert_eq!(beside.borne, [name(LEAF), name(LEAF), name(OTHER)]);
}

#[test]
fn nothing_beside_them() {
    let beside = parsed("p-", &[], b"");
    assert!(!beside.has_records() && beside.since.is_missing() && beside.rulings.is_empty());
}

/// A line that cannot be read is not the same as no file.
#[test]
fn a_file_without_a_readable_line_is_there_and_unreadable() {
    let whole = Line::Backup(record(LEAF)).encode();
    let newer = String::from_utf8(whole.clone()).unwrap().replacen(r#""schema":1"#, r#""schema":2"#, 1);
    let unversioned = String::from_utf8(whole.clone()).unwrap().replacen(r#""schema":1,"#, "", 1);
    let another_kind = String::from_utf8(whole.clone()).unwrap().replacen(r#""of":"backup""#, r#""of":"proof""#, 1);
    let file = record_file(&name(LEAF));
    for line in [
        &b""[..],
        b"\n\n",
        &whole[..whole.len() - 1],
        &whole[1..],
        b"\xff\xfe",
        newer.as_bytes(),
        unversioned.as_bytes(),
        another_kind.as_bytes(),
        &Line::Backup(record(OTHER)).encode(),
        &Line::Backup(Record { prefix: "q-".into(), ..record(LEAF) }).encode(),
    ] {
        let beside = parsed("p-", &[&file], line);
        assert_eq!(beside.records.get(LEAF), Some(&Known::Unreadable), "{}", String::from_utf8_lossy(line));
        assert!(beside.has_records());
    }
}

#[test]
fn one_cut_line_spoils_no_other() {
    let cut = &Line::Backup(record(LEAF)).encode()[..40];
    let text = [cut, b"\n", &Line::Backup(record(OTHER)).encode(), b"\n\n"].concat();
    let files = [LEAF, OTHER].map(|leaf| record_file(&name(leaf)));
    let beside = Beside::parse(&prefix("p-"), &files, &text);
    assert_eq!(beside.records.get(LEAF), Some(&Known::Unreadable));
    assert_eq!(beside.records.get(OTHER), Some(&Known::Read(record(OTHER))));
}

#[test]
fn a_line_without_its_file_counts_for_nothing() {
    let since = Since { prefix: "p-".into(), at: at(0), names: BTreeSet::new() };
    let lines = [Line::Backup(record(LEAF)), Line::Accepted(note(LEAF, at(0), &[LEAF])), Line::Since(since)];
    let beside = parsed("p-", &["p-202601020304.etcdb.handover", "notes.json"], &text(&lines));
    assert!(!beside.has_records() && beside.since.is_missing() && beside.rulings.is_empty());
}

#[test]
fn the_file_that_says_which_were_first_may_be_unreadable() {
    assert_eq!(parsed("p-", &["p-.since.json"], b"{").since, Known::Unreadable);
    // That of another prefix.
    let since = Line::Since(Since { prefix: "q-".into(), at: at(0), names: BTreeSet::new() });
    assert_eq!(parsed("p-", &["p-.since.json", "q-.since.json"], &text(&[since])).since, Known::Unreadable);
    assert!(parsed("p-", &["q-.since.json", ".since.json"], b"").since.is_missing());
}

#[test]
fn prefixes_that_share_the_folder_share_nothing_else() {
    let of = |prefix_: &str| {
        let name = BackupName::parse(&prefix(prefix_), &format!("{prefix_}202601020304.etcdb")).unwrap();
        let since = Since { prefix: prefix_.into(), at: at(0), names: BTreeSet::from([name.leaf()]) };
        let note = Note { prefix: prefix_.into(), ..note(&name.leaf(), at(0), &[&name.leaf()]) };
        [
            (record_file(&name), Line::Backup(Record { facts: Some(facts()), ..Record::new(&name) })),
            (since_file(&prefix(prefix_)), Line::Since(since)),
            (ruling_file(&name, at(0), Ruling::Dismissed), Line::Dismissed(note)),
        ]
    };
    let prefixes = ["a-", "a-b-", "", "p-", "20", "p.q-"];
    let (files, lines): (Vec<_>, Vec<_>) = prefixes.into_iter().flat_map(of).unzip();
    for prefix_ in prefixes {
        let beside = Beside::parse(&prefix(prefix_), &files, &text(&lines));
        let leaf = format!("{prefix_}202601020304.etcdb");
        assert_eq!(beside.records.keys().collect::<Vec<_>>(), [&leaf], "{prefix_}");
        assert_eq!(beside.rulings.keys().collect::<Vec<_>>(), [&leaf], "{prefix_}");
        assert_eq!(latest(&beside, &leaf), Some(Ruling::Dismissed));
        assert!(beside.borne.iter().all(|name| name.leaf() == leaf) && beside.borne.len() == 3, "{prefix_}");
        assert_eq!(beside.since.read().unwrap().names, BTreeSet::from([leaf]), "{prefix_}");
    }
}

#[test]
fn the_latest_ruling_counts() {
    let accepted = |second| ruled(Ruling::Accepted, note(LEAF, at(second), &[LEAF]));
    let dismissed = |second| ruled(Ruling::Dismissed, note(LEAF, at(second), &[LEAF]));
    assert_eq!(latest(&all(vec![accepted(1), dismissed(0)]), LEAF), Some(Ruling::Accepted));
    assert_eq!(latest(&all(vec![accepted(0), dismissed(1)]), LEAF), Some(Ruling::Dismissed));
    // Of two in one second, the one that trusts less.
    assert_eq!(latest(&all(vec![accepted(0), dismissed(0)]), LEAF), Some(Ruling::Dismissed));
    assert_eq!(latest(&all(vec![dismissed(0), accepted(0)]), LEAF), Some(Ruling::Dismissed));
}

#[test]
fn a_ruling_decides_about_what_it_covers() {
    let accepted = ruled(Ruling::Accepted, note(LEAF, at(1), &[LEAF, OTHER]));
    let beside = all(vec![accepted.clone(), ruled(Ruling::Dismissed, note(OTHER, at(0), &[OTHER]))]);
    assert_eq!([LEAF, OTHER].map(|leaf| latest(&beside, leaf)), [Some(Ruling::Accepted); 2]);
    let beside = all(vec![accepted, ruled(Ruling::Dismissed, note(OTHER, at(2), &[OTHER]))]);
    assert_eq!(latest(&beside, LEAF), Some(Ruling::Accepted));
    assert_eq!(latest(&beside, OTHER), Some(Ruling::Dismissed));
    // It is about the backup of its own name, even if a person forgot to list it.
    assert_eq!(latest(&all(vec![ruled(Ruling::Accepted, note(LEAF, at(0), &[]))]), LEAF), Some(Ruling::Accepted));
}

#[test]
fn a_ruling_that_cannot_be_read_is_known_to_be_there() {
    let (file, _) = ruled(Ruling::Accepted, note(LEAF, at(1), &[LEAF]));
    let unreadable = |text: &[u8]| parsed("p-", &[&file], text).rulings.remove(LEAF);
    for line in [
        None,
        // Of another second, about another backup, of another kind, and of another prefix.
        Some(Line::Accepted(note(LEAF, at(0), &[LEAF]))),
        Some(Line::Accepted(note(OTHER, at(1), &[LEAF]))),
        Some(Line::Dismissed(note(LEAF, at(1), &[LEAF]))),
        Some(Line::Accepted(Note { prefix: "q-".into(), ..note(LEAF, at(1), &[LEAF]) })),
    ] {
        let text = text(line.as_slice());
        assert_eq!(unreadable(&text), Some(LatestRuling { at: at(1), note: None }), "{line:?}");
    }
    // A later one takes its place, an earlier one and one of the same second do not.
    let (earlier, line) = ruled(Ruling::Dismissed, note(LEAF, at(1), &[LEAF]));
    assert_eq!(latest(&parsed("p-", &[&file, &earlier], &text(&[line])), LEAF), None);
    let (later, line) = ruled(Ruling::Dismissed, note(LEAF, at(2), &[LEAF]));
    assert_eq!(latest(&parsed("p-", &[&later, &file], &text(&[line])), LEAF), Some(Ruling::Dismissed));
}

#[test]
fn other_files_are_nobodys_records() {
    for file in [
        "p-202601020304.json",
        "p-202601020304.etcdb.JSON",
        "p-202601020304.etcdb.json.part",
        "p-202601020304.etcdb.accepted.json",
        "p-202601020304.etcdb.20260103T040506Z.approved.json",
        "p-202601020304.etcdb.20260103T040506.accepted.json",
        "p-202601020304.etcdb.20261303T040506Z.accepted.json",
        "p-.handover",
        "parts",
    ] {
        let beside = parsed("p-", &[file], b"");
        assert!(!beside.has_records() && beside.rulings.is_empty() && beside.since.is_missing(), "{file}");
    }
    // A name that any of them bears is taken all the same.
    assert_eq!(parsed("p-", &["p-202601020304.x.json", "p-.handover"], b"").borne, [name(LEAF)]);
}

#[test]
fn a_backups_files_go_with_it_unless_another_needs_them() {
    let beside = all(vec![
        (record_file(&name(LEAF)), Line::Backup(record(LEAF))),
        ruled(Ruling::Dismissed, note(LEAF, at(0), &[LEAF])),
        ruled(Ruling::Accepted, note(LEAF, at(1), &[LEAF, OTHER])),
        (record_file(&name(OTHER)), Line::Backup(record(OTHER))),
        (since_file(&prefix("p-")), Line::Since(Since { prefix: "p-".into(), at: at(0), names: BTreeSet::new() })),
    ]);
    let files = |gone: &[&str], standing: &[&str]| {
        let set = |leaves: &[&str]| leaves.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        beside.files_of(&set(gone), &set(standing)).len()
    };
    assert_eq!(files(&[], &[LEAF, OTHER]), 0);
    assert_eq!(files(&[LEAF], &[OTHER]), 2);
    assert_eq!(files(&[LEAF], &[]), 3);
    assert_eq!(files(&[OTHER], &[LEAF]), 1);
    assert_eq!(files(&[LEAF, OTHER], &[]), 4);
    // It may be about a backup that stands.
    let unread = Beside::parse(&prefix("p-"), &[ruling_file(&name(LEAF), at(0), Ruling::Accepted)], b"");
    assert!(unread.files_of(&BTreeSet::from([LEAF.to_owned()]), &BTreeSet::new()).is_empty());
    assert!(unread.without_backup(&BTreeSet::new(), DateTime::<Utc>::MAX_UTC, Tz::UTC).is_empty());
}

#[test]
fn records_whose_backups_are_gone_are_found_once_they_are_old() {
    let recorded = DateTime::parse_from_rfc3339("2026-01-02T01:04:00Z").unwrap().to_utc();
    let mut record = record(LEAF);
    record.facts.as_mut().unwrap().taken_at = recorded;
    let beside = all(vec![
        (record_file(&name(LEAF)), Line::Backup(record)),
        (record_file(&name(OTHER)), Line::Accepted(note(OTHER, at(0), &[]))),
    ]);
    let gone = |standing: &[&str], before: DateTime<Utc>| {
        beside.without_backup(&standing.iter().map(ToString::to_string).collect(), before, Tz::UTC)
    };
    assert_eq!(gone(&[], at(0)), [OTHER, LEAF]);
    assert_eq!(gone(&[OTHER], at(0)), [LEAF]);
    assert!(gone(&[LEAF, OTHER], at(0)).is_empty());
    // The record's second decides, and the time in the name where it cannot be read.
    assert_eq!(gone(&[OTHER], recorded + TimeDelta::seconds(1)), [LEAF]);
    assert!(gone(&[OTHER], recorded).is_empty());
    assert_eq!(gone(&[], recorded), [OTHER]);
}

#[test]
fn a_record_stays_while_what_was_compressed_by_hand_stands() {
    let zst = name(LEAF).compressed(Some(Compression::Zstd));
    let gone = |files: Vec<(String, Line)>, standing: &str| {
        let (beside, standing) = (all(files), BTreeSet::from([standing.to_owned()]));
        let leaf = BTreeSet::from([LEAF.to_owned()]);
        let without = beside.without_backup(&standing, DateTime::<Utc>::MAX_UTC, Tz::UTC);
        assert_eq!(beside.files_of(&leaf, &standing).is_empty(), without.is_empty());
        without
    };
    let plain = || vec![(record_file(&name(LEAF)), Line::Backup(record(LEAF)))];
    assert_eq!(gone(plain(), OTHER), [LEAF]);
    assert!(gone(plain(), &zst.leaf()).is_empty());
    // A compressed one with a record of its own is not that one.
    let compressed = Some(Compressed { bytes: 7, sha256: "cd".into(), compression: Compression::Zstd });
    let own = Line::Backup(Record { compressed, ..record(&zst.leaf()) });
    assert_eq!(gone([plain(), vec![(record_file(&zst), own)]].concat(), &zst.leaf()), [LEAF]);
}

proptest! {
    /// A store lists its files in any order, and rclone reads several at a time.
    #[test]
    fn the_order_of_files_and_lines_does_not_matter(
        rulings in proptest::collection::vec((any::<bool>(), 0i64..3, any::<bool>(), any::<bool>()), 0..8)
            .prop_shuffle(),
        seed in any::<u64>(),
    ) {
        let mut files: BTreeMap<String, Option<Line>> = BTreeMap::new();
        for (accepted, second, other, readable) in rulings {
            let ruling = if accepted { Ruling::Accepted } else { Ruling::Dismissed };
            let leaf = if other { OTHER } else { LEAF };
            let (file, line) = ruled(ruling, note(leaf, at(second), &[leaf]));
            files.insert(file, readable.then_some(line));
        }
        let (mut names, lines): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let mut lines: Vec<_> = lines.into_iter().flatten().collect();
        let one = Beside::parse(&prefix("p-"), &names, &text(&lines));
        let turn = |len: usize| usize::try_from(seed % 7).unwrap() % len.max(1);
        let (by_names, by_lines) = (turn(names.len()), turn(lines.len()));
        names.rotate_left(by_names);
        lines.rotate_left(by_lines);
        lines.reverse();
        let two = Beside::parse(&prefix("p-"), &names, &text(&lines));
        prop_assert_eq!(one.rulings, two.rulings);
    }

    #[test]
    fn any_text_is_read(files in proptest::collection::vec("\\PC{0,40}", 0..5), text in any::<Vec<u8>>()) {
        for prefix_ in ["", "p-"] {
            Beside::parse(&prefix(prefix_), &files, &text);
        }
    }
}

#[test]
fn a_name_that_is_listed_twice_is_read_once() {
    let file = format!("{LEAF}.json");
    let beside = parsed("p-", &[&file, &file], &text(&[Line::Backup(record(LEAF))]));
    assert!(beside.records[LEAF].read().is_some());
}
