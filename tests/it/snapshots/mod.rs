//! What scripts and people rely on, written down below `tests/golden`: `--help`, the reports in JSON, the restore plan.
//!
//! `INSTA_UPDATE=always cargo test --test it -- snapshots` writes the files anew; git then shows what a change does.
//! Without it a file that differs or is missing fails the test (`.cargo/config.toml` sets `INSTA_UPDATE=no`).

mod help;
mod reports;
mod restore;

use insta::Settings;
use serde_json::Value;

use crate::support::output::Output;

/// What differs from run to run, and what stands in its place. A number or a size loses its quotes, so that a number
/// that becomes a text still shows.
const VOLATILE: [(&str, &str); 12] = [
    (r#"[^\s"'=:,]*/\.tmp\w{6}"#, "<tmp>"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
    (r"\b[0-9a-f]{64}\b", "<sha256>"),
    (r"etcd-restore-[0-9a-f]{8}\b", "etcd-restore-<sha256>"),
    // The names and times that tests make up themselves are those of 2020.
    (r"\b20(2[1-9]|[3-9]\d)\d{8,10}\b", "<now>"),
    (r"\b20(2[1-9]|[3-9]\d)-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "<now>"),
    (r#"("(?:survey|snapshot|store|prune|total|age_seconds)"): \d[\d.]*"#, "$1: <seconds>"),
    // A database's size depends on when etcd commits; the sizes of the few keys in it are smaller and exact.
    (r#"("(?:db_|stored_)?bytes"): \d{5,}"#, "$1: <bytes>"),
    (r#"("(?:hash|consistent_index|raft_term|term)"): \d+"#, "$1: <number>"),
    (r#"("(?:cluster_id|member_id|id)"): "[0-9a-f]+""#, r#"$1: "<id>""#),
    (r#"("hash"): "[0-9a-f]+""#, r#"$1: "<hash>""#),
    (r#"("(?:etcdutl|etcd_version|cluster_version|storage_version)"): "[\d.]+""#, r#"$1: "<version>""#),
];

/// Compares `text` with `tests/golden/<folder>/<name>.snap`.
#[track_caller]
fn assert_golden(folder: &str, name: &str, text: &str) {
    let mut settings = Settings::new();
    settings.set_snapshot_path(format!("{}/tests/golden/{folder}", env!("CARGO_MANIFEST_DIR")));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (volatile, placeholder) in VOLATILE {
        settings.add_filter(volatile, placeholder);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Each line of stdout is JSON, laid out for people to read.
#[track_caller]
fn assert_report(name: &str, output: &Output) {
    let lines = output.stdout.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}\n{output}"));
        serde_json::to_string_pretty(&value).unwrap()
    });
    assert_golden("reports", name, &lines.collect::<Vec<_>>().join("\n"));
}
