//! By what a stored backup is confirmed: a hash that the store computed from what it holds, or its content. Whatever is
//! altered on its way or where it lies is never confirmed.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use crate::support::{
    etcd::Cluster,
    http_proxy::{Action, HttpProxy},
    output::Output,
    remote::Remote,
    run::Run,
    sha256,
};

/// Four bytes of each file below `folder` are others as soon as the upload is looked at; the sizes stay.
fn altered_where_it_lies(run: Run, folder: &Path) -> Run {
    let script = "#!/bin/bash
case \"$*\" in *--stat*) find FOLDER -type f -size +8k -exec sh -c 'printf XXXX | dd of=$1 conv=notrunc bs=1 seek=9000 status=none' - {} \\; ;; esac
exec REAL \"$@\"\n";
    run.rclone_is(&script.replace("FOLDER", folder.to_str().unwrap()))
}

fn never_confirmed(output: &Output) {
    assert!(!output.status.success() && !output.stderr.contains("confirmed at the remote"), "{output}");
}

#[test]
fn a_file_that_is_altered_is_noticed_where_it_lies() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    for (remote, evidence, words) in [
        (Remote::folder(), "store-sha256", "compared=the store's SHA-256"),
        (Remote::sftp(), "store-md5", "compared=the store's MD5"),
        (Remote::webdav(), "read-back", "compared=its content, read back"),
    ] {
        let output = Run::job(&cluster, &remote).exits(0).says(&["confirmed at the remote", words]);
        let first = output.report();
        let record = format!("{}.json", first.text("name"));
        assert_eq!(first.text("confirmed"), evidence, "{output}");
        assert_eq!(remote.record(&record)["confirmed"], evidence);
        let altered = altered_where_it_lies(Run::job(&cluster, &remote), &remote.on_disk(""));
        let output = altered.exits(6).says(&["its content, read back, differs"]);
        never_confirmed(&output);
        assert!(output.report().value("name").is_null(), "{output}");
        assert_eq!(remote.records(), [".since.json", &record]);
    }
}

#[test]
fn four_bytes_altered_behind_crypt_are_never_confirmed() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    for remote in [Remote::folder(), Remote::webdav(), Remote::sftp()] {
        let stored = remote.on_disk("");
        let remote = remote.encrypted(true);
        Run::job(&cluster, &remote).exits(0).says(&["compared=its content, read back"]);
        let output = altered_where_it_lies(Run::job(&cluster, &remote), &stored).exits(6);
        never_confirmed(&output.says(&["cannot be decrypted"]));
    }
}

#[test]
fn seaweedfs_refuses_what_was_altered_on_its_way() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::small();
    let remote = Remote::seaweedfs();
    let uploads = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&uploads);
    let proxy = HttpProxy::to(remote.port(), move |request| {
        let is_first = request.is_upload() && seen.fetch_add(1, SeqCst) == 0;
        if is_first { Action::FlipRequest(9000) } else { Action::Forward }
    });
    let config = remote.config_by(proxy.port());
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("provider = Other", "provider = SeaweedFS")).unwrap();
    let output = Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config).exits(0);
    let report = output.report();
    assert_eq!(uploads.load(SeqCst), 2, "{output}");
    assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
    // The MD5 of what arrived is the server's own: it was compared with the one that rclone announced.
    output.says(&["BadDigest", "compared=the store's MD5"]);
}

/// The MD5s of what arrived are the server's own, those of the parts, too.
#[test]
fn seaweedfs_refuses_a_part_that_was_altered_on_its_way() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::large();
    let remote = Remote::seaweedfs();
    let (altered, reads) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (seen, read) = (Arc::clone(&altered), Arc::clone(&reads));
    let proxy = HttpProxy::to(remote.port(), move |request| {
        read.fetch_add(u32::from(request.method == "GET" && request.path.contains(".etcdb?")), SeqCst);
        let is_second = request.is_upload() && request.path.contains("partNumber=2");
        if is_second && seen.fetch_add(1, SeqCst) == 0 { Action::FlipRequest(9000) } else { Action::Forward }
    });
    let config = remote.config_by(proxy.port());
    let text = fs::read_to_string(&config).unwrap();
    let section = "provider = SeaweedFS\nchunk_size = 5M\nupload_cutoff = 5M";
    fs::write(&config, text.replace("provider = Other", section)).unwrap();
    let output = Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config).exits(0);
    let report = output.report();
    assert_eq!((altered.load(SeqCst), reads.load(SeqCst)), (2, 0), "{output}");
    assert_eq!(report.text("confirmed"), "store-md5-of-parts");
    assert_eq!(remote.record(&format!("{}.json", report.text("name")))["confirmed"], "store-md5-of-parts");
    assert_eq!(sha256(&remote.read(report.text("name"))), report.text("sha256"));
    output.says(&["compared=the store's MD5 of its parts"]);
}

#[test]
fn a_hash_that_rclone_wrote_itself_is_no_evidence() {
    needs!("etcd", "rclone", "weed");
    let cluster = Cluster::small();
    let remote = Remote::seaweedfs();
    let config = remote.config_with("provider = Other", "provider = SeaweedFS");
    let job = || Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config);
    job().exits(0).says(&["compared=the store's MD5"]);
    let flags = "--s3-upload-cutoff 0 --s3-chunk-size 5M --s3-disable-checksum=false";
    job().env("RCLONE_FLAGS", flags).exits(0).says(&["compared=the store's MD5 of its parts"]);
    job().env("RCLONE_S3_UPLOAD_CUTOFF", "1k").exits(0).says(&["compared=the store's MD5 of its parts"]);
    // What is not known for certain.
    job().env("RCLONE_FLAGS", "--multi-thread-cutoff 1k").exits(0).says(&["compared=its content, read back"]);
    let flags = format!("{flags} --s3-max-upload-parts 9000");
    job().env("RCLONE_FLAGS", flags).exits(0).says(&["compared=its content, read back"]);
    Run::job(&cluster, &remote)
        .env("RCLONE_S3_UPLOAD_CUTOFF", "1k")
        .exits(0)
        .says(&["compared=its content, read back"]);
}

/// rclone blanks only one header of a dump, and credentials that it gets itself are in no configuration.
#[test]
fn nothing_of_a_dump_is_seen() {
    needs!("etcd", "rclone", "weed");
    let (cluster, remote) = (Cluster::small(), Remote::seaweedfs());
    let config = remote.config_with("provider = Other", "provider = SeaweedFS");
    let script = r#"#!/bin/bash
case "$*" in *--dump=headers*)
    echo 'X-Amz-Server-Side-Encryption-Customer-Key: Se1cret-of-a-dump' >&2
    echo 'Failed to be silent: X-Amz-Security-Token: Se1cret-of-a-dump' >&2
    echo '{"level":"debug","msg":"HEAD / HTTP/1.1\r\nX-Amz-Security-Token: Se1cret-of-a-dump\r\n"}' >&2
    [ -e FAIL ] && { echo '{"level":"notice","msg":"Failed to lsjson: AccessDenied"}' >&2; exit 1; } ;;
esac
exec REAL "$@"
"#;
    let fail = tempfile::tempdir().unwrap();
    let script = script.replace("FAIL", fail.path().join("fail").to_str().unwrap());
    let job = || {
        let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", &config).env("RCLONE_S3_UPLOAD_CUTOFF", "1k");
        run.rclone_is(&script).env("LOG_LEVEL", "trace").secret("Se1cret-of-a-dump").secret("X-Amz-")
    };
    job().exits(0).says(&["compared=the store's MD5 of its parts"]);
    fs::write(fail.path().join("fail"), "").unwrap();
    // A question for more that fails costs only the evidence.
    job().exits(0).says(&["compared=its content, read back"]);
}
