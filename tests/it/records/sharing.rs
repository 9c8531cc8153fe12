//! Several runs, and several prefixes, in one folder.

use super::*;

#[test]
fn two_first_runs_at_once_agree() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    remote.put_aged(SHELL[0], &save(&cluster), LONG_AGO);
    // One cluster's state in three files of different bytes.
    let (second, third) = (Cluster::kubernetes(ONE), Cluster::kubernetes(ONE));
    let jobs = [&cluster, &second, &third].map(|cluster| job(cluster, &remote).spawn());
    let mut names = jobs.map(|job| job.wait(SOON * 2).report().text("name").to_owned()).to_vec();
    names.push(SHELL[0].to_owned());
    names.sort();
    assert_eq!(remote.names(), names);
    assert!(classes(&remote).iter().all(|(_, class)| class == "good"), "{:?}", classes(&remote));
    assert_eq!(remote.record("p-.since.json")["names"], json!([SHELL[0]]));
}

/// Runs that send the same bytes may find each other's backup where theirs was to be.
#[test]
fn runs_of_the_same_bytes_at_once_doubt_none_of_them() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let cluster = Cluster::kubernetes(ONE);
    let jobs = [(); 4].map(|()| {
        std::thread::sleep(std::time::Duration::from_millis(350));
        job(&cluster, &remote).spawn()
    });
    for job in jobs {
        let output = job.wait(SOON * 2);
        output.assert().code(0);
    }
    assert!(classes(&remote).iter().all(|(_, class)| class == "good"), "{:?}", classes(&remote));
}

#[test]
fn prefixes_that_share_a_folder_know_nothing_of_each_other() {
    needs!("etcd", "etcdctl", "rclone");
    let remote = Remote::folder();
    let (one, two) = (Cluster::kubernetes(ONE), Cluster::kubernetes(TWO));
    let with = |run: Run, prefix: &str| run.env("BACKUP_PREFIX", prefix);
    let night = |cluster: &Cluster, prefix: &str| with(limited(cluster, &remote), prefix).success();
    for _ in 0..2 {
        for (cluster, prefix) in [(&one, ""), (&two, "p-"), (&one, "p")] {
            night(cluster, prefix);
        }
    }
    let stray = with(limited(&one, &remote), "p-").exits(3).report();
    let file = format!(".etcd-backup/{}.json", stray.text("name"));
    remote.delete(&file);
    remote.put(&file, b"{");
    assert_eq!(with(limited(&two, &remote), "p-").exits(0).report().list("failed").len(), 0);
    night(&one, "");
    night(&one, "p");
    for (prefix, count) in [("", 1), ("p", 1), ("p-", 1)] {
        let report = with(Run::new().arg("list").store(&remote), prefix).success();
        let classes: Vec<_> = report.value("backups").as_array().unwrap().iter().map(|b| &b["class"]).collect();
        assert_eq!(classes, vec!["good"; count], "{prefix:?}");
    }
    let since: Vec<_> = remote.records().into_iter().filter(|file| file.ends_with("since.json")).collect();
    assert_eq!(since, [".since.json", "p-.since.json", "p.since.json"]);
}
