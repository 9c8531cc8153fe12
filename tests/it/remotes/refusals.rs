//! What the big clouds refuse, and what an example says that is not filled in.

use std::{fs, path::Path};

use rstest::rstest;

use crate::support::{etcd::Cluster, remote::Remote, run::Run};

fn list(remote: &Remote) -> Run {
    Run::new().arg("list").store(remote)
}

#[rstest]
#[case::azure("azure-blob.conf", "azure:backups", "illegal base64")]
#[case::google("google-cloud-storage.conf", "gcs:backups", "service account credentials file")]
#[case::sftp("sftp.conf", "sftp:/srv/etcd-backups", "no such file or directory")]
fn an_example_that_is_filled_in_wrongly_is_a_wrong_setting(
    #[case] file: &str,
    #[case] target: &str,
    #[case] words: &str,
) {
    needs!("rclone");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("rclone.conf");
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rclone/examples").join(file)).unwrap();
    fs::write(&config, example.replace("REPLACE_ME", "no-key!")).unwrap();
    Run::new().arg("list").env("TARGET", target).env("RCLONE_CONFIG", &config).exits(2).says(&[words]);
}

#[rstest]
#[case::aws(Remote::aws)]
#[case::google(Remote::google)]
#[case::azure(Remote::azure)]
#[ignore = "slow: make test-all"]
fn a_missing_bucket_is_named_and_not_made(#[case] remote: fn() -> Remote) {
    needs!("etcd", "rclone");
    needs_clouds!();
    let remote = remote();
    let missing = format!("{}-missing", remote.target());
    list(&remote).env("TARGET", &missing).exits(2).says(&["there is no bucket at", &missing]);
    Run::job(&Cluster::small(), &remote).env("TARGET", &missing).exits(2);
    list(&remote).env("TARGET", &missing).exits(2);
}

#[test]
#[ignore = "slow: make test-all"]
fn azure_refuses_a_wrong_key_and_an_impossible_name() {
    needs!("rclone");
    needs_clouds!();
    let remote = Remote::azure();
    let config = remote.config_with(remote.secret().unwrap(), "c29tZXRoaW5nIGVsc2U=");
    let refused = list(&remote).env("RCLONE_CONFIG", config).exits(9);
    assert!(!refused.stderr.contains("<?xml") && !refused.stderr.contains("-----"), "{refused}");
    refused.says(&["AuthorizationFailure", "check the credentials"]);
    for name in ["azure:ab", "azure:Capitals"] {
        list(&remote).env("TARGET", name).exits(2);
    }
}

/// A backup in a tier that is only read after hours is a backup all the same.
#[rstest]
#[case::aws(Remote::aws, "GLACIER", "restore first")]
#[case::azure(Remote::azure, "Archive", "archive tier")]
#[ignore = "slow: make test-all"]
fn what_is_archived_is_listed_and_not_read(#[case] remote: fn() -> Remote, #[case] tier: &str, #[case] words: &str) {
    needs!("etcd", "rclone");
    needs_clouds!();
    let (cluster, remote) = (Cluster::small(), remote());
    let name = Run::job(&cluster, &remote).success().text("name").to_owned();
    remote.rclone(&["settier", tier, &format!("{}/{name}", remote.target())]);
    let report = list(&remote).success();
    assert_eq!(report.value("backups")[0]["class"], "good");
    Run::new().arg("verify").store(&remote).exits(6).says(&[words]);
    let next = Run::job(&cluster, &remote).success();
    assert_eq!(next.value("verdict")["is"], "good", "records are read, and no backup");
}
