//! rclone as a child: found or not, its environment, its flags, its words without secrets.

use std::{fs, os::unix::ffi::OsStringExt, os::unix::fs::PermissionsExt};

use crate::support::{
    LONG_AGO, SOON, etcd::Cluster, eventually, output::Output, processes::peak_rss, proxy::Proxy, remote::Remote,
    run::Run, sample, tools,
};

/// A run that cannot come as far as etcd, which never answers.
fn without_etcd(remote: &Remote) -> (Run, Proxy) {
    let silent = Proxy::silent();
    let endpoint = format!("http://127.0.0.1:{}", silent.port());
    (Run::new().arg("run").store(remote).env("ETCDCTL_ENDPOINTS", endpoint), silent)
}

fn fails(remote: &Remote, change: impl FnOnce(Run) -> Run, code: i32, words: &[&str]) -> Output {
    let (run, _silent) = without_etcd(remote);
    change(run).limit(SOON).exits(code).says(words)
}

#[test]
fn rclone_missing_or_unusable_is_said() {
    let remote = Remote::folder();
    let empty = tempfile::tempdir().unwrap();
    let words = ["cannot find rclone in PATH", empty.path().to_str().unwrap(), "install rclone 1.63 or newer"];
    fails(&remote, |run| run.env("PATH", empty.path()), 2, &words);
    let unusable = empty.path().join("rclone");
    fs::write(&unusable, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&unusable, fs::Permissions::from_mode(0o644)).unwrap();
    fails(&remote, |run| run.env("PATH", empty.path()), 2, &words);
    fails(&remote, |run| run.rclone_is("#!/nonexistent/interpreter\n"), 2, &["cannot start", "/bin/rclone"]);
    // An executable file of no known format, as one of another machine's.
    fails(&remote, |run| run.rclone_is("\u{7f}ELF of elsewhere"), 2, &["cannot start", "/bin/rclone"]);
    let old = "#!/bin/sh\necho 'rclone v1.62.2'\n";
    fails(&remote, |run| run.rclone_is(old), 2, &["is rclone 1.62.2, too old", "1.63", "/bin/rclone"]);
}

#[test]
fn a_configuration_that_is_wrong_is_two_and_never_quoted() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    let secret = "hunter2hunter2";
    let broken = |text: &str| {
        let config = remote.config_with("[", &format!("{text}\n["));
        let run = |run: Run| run.env("RCLONE_CONFIG", config).secret(secret).env("LOG_LEVEL", "trace");
        fails(&remote, run, 2, &["ailed to load config", "***"]);
    };
    broken("broken hunter2hunter2 line");
    broken("[broken hunter2hunter2 section");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("rclone.conf");
    fails(&remote, |run| run.env("RCLONE_CONFIG", &missing), 2, &["rclone-config", missing.to_str().unwrap()]);
    fails(&remote, |run| run.env("RCLONE_CONFIG", folder.path()), 2, &[folder.path().to_str().unwrap()]);
}

/// rclone quotes a value that it cannot read.
#[test]
fn no_value_of_the_configuration_is_ever_printed() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    for secret in ["hunter2hunter2", "hun\"ter2\\<hun&ter2>", "hünter2\u{1f511}hunter"] {
        let config = remote.config_with("[store]", &format!("[store]\nchunk_size = {secret}"));
        let run = |run: Run| run.env("RCLONE_CONFIG", &config).secret(secret).env("LOG_LEVEL", "trace");
        let output = fails(&remote, run, 2, &["***"]);
        assert!(output.report().text("error").contains("***"), "{output}");
    }
}

/// The same of a remote that is configured by variables alone, as rclone allows.
#[test]
fn no_secret_of_the_environment_is_ever_printed() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let text = fs::read_to_string(remote.config()).unwrap();
    let variables = text
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (format!("RCLONE_CONFIG_STORE_{}", key.to_uppercase()), value.to_owned()));
    let variables: Vec<_> = variables.collect();
    let with = |run: Run| variables.iter().fold(run.without_env("RCLONE_CONFIG"), |run, (k, v)| run.env(k, v));
    with(Run::job(&Cluster::small(), &remote)).success();
    assert_eq!(remote.names().len(), 1);
    let secret = "hunter2hunter2";
    let run = |run: Run| with(run).env("RCLONE_CONFIG_STORE_SSE_CUSTOMER_KEY", secret).secret(secret);
    // rclone refuses a key without its algorithm, or the store does; neither says the key.
    let (run_it, _silent) = without_etcd(&remote);
    let output = run(run_it).env("LOG_LEVEL", "trace").env("TIMEOUT", "5s").spawn().wait(SOON);
    assert_ne!(output.status.code(), Some(0), "{output}");
}

#[test]
fn rclones_own_default_configuration_is_used_and_kept_secret() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/rclone");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(remote.config(), folder.join("rclone.conf")).unwrap();
    let run = |run: Run| run.without_env("RCLONE_CONFIG").env("HOME", home.path());
    run(Run::job(&Cluster::small(), &remote)).success();
    assert_eq!(remote.names().len(), 1);
    let secret = "hunter2hunter2";
    fs::copy(remote.config_with("[store]", &format!("[store]\nchunk_size = {secret}")), folder.join("rclone.conf"))
        .unwrap();
    fails(&remote, |r| run(r).secret(secret).env("LOG_LEVEL", "trace"), 2, &["***"]);
}

#[test]
fn flags_in_the_environment_do_not_reach_rclone() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    remote.put_aged("202001010000.etcdb", sample::old(), LONG_AGO);
    let cluster = Cluster::small();
    let run = Run::job(&cluster, &remote).env("RCLONE_DRY_RUN", "true").env("RCLONE_INCLUDE", "*.txt");
    let run = run.env("RCLONE_MIN_AGE", "5y").env("RCLONE_MAX_SIZE", "1").env("RETENTION", "10d").env("KEEP_LAST", "1");
    let run = run.env("RCLONE_EXCLUDE", "*").env("RCLONE_MAX_DELETE", "0").env("RCLONE_IMMUTABLE", "true");
    // What is no text cannot be one of rclone's settings, and is no reason to fail.
    let run = run.env("STRANGE", std::ffi::OsString::from_vec(vec![0xff, 0xfe]));
    let report = run.success();
    assert_eq!(report.value("removed")[0]["name"], "202001010000.etcdb");
    assert_eq!(remote.names(), [report.text("name")]);
}

#[test]
fn harmless_flags_reach_rclone_and_unknown_ones_are_two() {
    needs!("etcd", "rclone");
    let cluster = Cluster::small();
    let remote = Remote::rclone_s3();
    let flags = "--s3-upload-cutoff 0 --header-upload 'X-Amz-Meta-Owner: us and them'";
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let note = std::sync::Arc::clone(&seen);
    let hooked = crate::support::http_proxy::HttpProxy::to(remote.port(), move |request| {
        if request.header("x-amz-meta-owner") == Some("us and them") {
            note.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        crate::support::http_proxy::Action::Forward
    });
    let config = remote.config_by(hooked.port());
    let run = Run::job(&cluster, &remote).env("RCLONE_CONFIG", config).without_env("RCLONE_FLAGS");
    run.config_dir(&[("rclone-flags", flags)]).success();
    assert!(seen.load(std::sync::atomic::Ordering::SeqCst), "the flag did not arrive");
    fails(&remote, |run| run.args(["--rclone-flags", "--no-such-flag"]), 2, &["unknown flag: --no-such-flag"]);
}

/// Of a flag that is repeated, rclone takes the last one.
#[test]
fn flags_about_tries_and_timeouts_win_and_all_others_of_ours_stand_last() {
    needs!("etcd", "rclone");
    let remote = Remote::folder();
    remote.put_aged("202001010000.etcdb", sample::old(), LONG_AGO);
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("calls");
    let script = format!("#!/bin/sh\necho \"$@\" >> '{}'\nexec REAL \"$@\"\n", seen.display());
    let flags = ["--retries=7", "--low-level-retries=7", "--contimeout=7s", "--timeout=7s"];
    let cluster = Cluster::small();
    let run = Run::job(&cluster, &remote).env("RETENTION", "10d").env("KEEP_LAST", "1").rclone_is(&script);
    run.args(["--rclone-flags", &flags.join(" ")]).success();
    let calls = fs::read_to_string(seen).unwrap();
    for subcommand in ["version", "backend", "lsjson", "copyto", "cat", "delete"] {
        let call = calls.lines().find(|call| call.starts_with(subcommand));
        let words: Vec<_> = call.unwrap_or_else(|| panic!("no {subcommand}\n{calls}")).split(' ').collect();
        let last = |name: &str| words.iter().rposition(|word| word.split('=').next() == Some(name));
        for flag in flags {
            let name = flag.split('=').next().unwrap();
            assert_eq!(last(name).map(|at| words[at]), Some(flag), "{words:?}");
        }
        let users_last = last("--timeout");
        for ours in ["--use-json-log", "--ask-password", "--files-only", "--ignore-existing", "--max-delete"] {
            assert!(last(ours).is_none_or(|at| Some(at) > users_last), "{ours} can be overridden: {words:?}");
        }
    }
}

#[test]
fn a_timeout_of_the_user_ends_a_call_sooner() {
    needs!("rclone");
    let silent = Proxy::silent();
    let remote = Remote::rclone_s3();
    let run = Run::new().arg("list").store(&remote).env("RCLONE_CONFIG", remote.config_by(silent.port()));
    let begin = std::time::Instant::now();
    let run = run.args(["--rclone-flags", "--timeout=1s --low-level-retries=1"]);
    run.limit(SOON).exits(6).says(&["timeout awaiting response headers"]);
    assert!(begin.elapsed() < std::time::Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn output_without_an_end_is_too_much_and_takes_no_memory() {
    needs!("rclone");
    let remote = Remote::folder();
    let list = |script: &str| {
        let job = Run::new()
            .arg("list")
            .store(&remote)
            .rclone_is(&format!("#!/bin/sh\n{script}\nexec REAL \"$@\"\n"))
            .spawn();
        let mut peak = 0;
        eventually(SOON, "the end", || {
            let now = peak_rss(job.id());
            peak = now.unwrap_or_default().max(peak);
            now.is_none().then_some(())
        });
        (job.wait(SOON), peak)
    };
    let (output, peak) = list("[ \"$1\" = lsjson ] && exec yes");
    output.assert().code(6);
    let output = output.says(&["rclone lsjson", "it printed more than 64.0 MiB", "give each cluster a backup-prefix"]);
    // A vector doubles while it grows.
    assert!((64 << 10..200 << 10).contains(&peak), "{peak} KiB\n{output}");
    let (output, peak) = list("head -c 100m /dev/zero >&2");
    output.assert().code(0);
    assert!((1_000..48 << 10).contains(&peak), "{peak} KiB\n{output}");
}

/// As in some sandboxes and chroots.
#[test]
fn programs_start_without_proc() {
    needs!("rclone");
    let remote = Remote::folder();
    remote.put("202601010000.etcdb", sample::snapshot());
    let script = r#"mount -t tmpfs none /proc && exec "$@""#;
    let run = Run::new().arg("list").store(&remote).env("LOG_LEVEL", "debug");
    let run = run.through(["unshare", "--mount", "sh", "-c", script, "sh"]);
    let output = run.exits(0).says(&["/proc/self/exe: No such file"]);
    assert!(output.stdout.contains("202601010000.etcdb"), "{output}");
}

/// Where a CronJob's container happens to stand is no place for backups.
#[test]
fn a_path_in_the_working_directory_is_refused_by_every_command() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    let folder = tempfile::tempdir().unwrap();
    let config = remote.config_with(
        "[store]",
        "[disk]\ntype = local\n[alias]\ntype = alias\nremote = disk:dir\n[crypt]\ntype = crypt\nremote = dir\n[store]",
    );
    for (target, words) in [
        ("disk:dir", "target: `disk:dir` is relative to the working directory"),
        (":local:dir", "target: `:local:dir` is relative"),
        ("alias:x", "rclone-config: `disk:dir` is relative"),
        ("crypt:x", "rclone-config: `dir` is relative"),
    ] {
        let here = |run: Run| {
            run.through(["env", "-C", folder.path().to_str().unwrap()])
                .env("RCLONE_CONFIG", &config)
                .env("TARGET", target)
        };
        fails(&remote, here, 2, &[words]);
        for command in ["list", "prune", "verify"] {
            here(Run::new().arg(command)).exits(2).says(&[words]);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{target}");
    }
    fs::create_dir(folder.path().join("dir")).unwrap();
    let absolute = format!("disk:{}/dir", folder.path().display());
    Run::new().arg("list").env("RCLONE_CONFIG", &config).env("TARGET", absolute).exits(0);
}

/// What rclone says of a configuration that is of no use, each in its own words.
#[test]
fn a_configuration_that_rclone_refuses_is_two() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    for (section, words) in [
        ("type = crypt\nremote = /x\npassword = hunter2", "is it obscured?"),
        ("type = sftp\nhost = 127.0.0.1\nkey_file = /nonexistent", "failed to read private key file"),
        ("type = webdav\nurl = h.example", "unsupported protocol scheme"),
        (
            "type = s3\nprovider = Other\nendpoint = http://a b\naccess_key_id = a\nsecret_access_key = b",
            "not a valid URI",
        ),
        ("type = azureblob", "no authentication method"),
    ] {
        let config = remote.config_with("[store]", &format!("[wrong]\n{section}\n[store]"));
        fails(&remote, |run| run.env("RCLONE_CONFIG", &config).env("TARGET", "wrong:x"), 2, &[words]);
    }
    fails(&remote, |run| run.args(["--rclone-flags", "--ca-cert /nonexistent"]), 2, &["--ca-cert"]);
}

/// A configuration that nobody can write to, as the kubelet mounts a Secret.
pub(crate) struct Mounted(tempfile::TempDir);

impl Mounted {
    pub(crate) fn new(config: &std::path::Path) -> Self {
        let mounted = Self(tempfile::tempdir().unwrap());
        fs::copy(config, mounted.config()).unwrap();
        let folder = mounted.0.path().to_str().unwrap();
        Self::run(&["mount", "--bind", folder, folder]);
        Self::run(&["mount", "-o", "remount,bind,ro", folder]);
        mounted
    }

    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.0.path().join("rclone.conf")
    }

    fn run(args: &[&str]) {
        assert!(tools::command(args[0]).args(&args[1..]).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        Self::run(&["umount", self.0.path().to_str().unwrap()]);
    }
}

#[test]
fn a_configuration_that_cannot_be_written_to_is_copied() {
    needs!("etcd", "rclone");
    let remote = Remote::rclone_s3();
    let mounted = Mounted::new(remote.config());
    let cluster = Cluster::small();
    Run::job(&cluster, &remote).env("RCLONE_CONFIG", mounted.config()).exits(0);
}

#[test]
fn the_copy_of_a_run_that_was_killed_is_swept() {
    needs!("rclone");
    let remote = Remote::rclone_s3();
    let silent = Proxy::silent();
    let mounted = Mounted::new(&remote.config_by(silent.port()));
    let folder = tempfile::tempdir().unwrap();
    let list = |config: &std::path::Path| {
        Run::new().arg("list").store(&remote).env("RCLONE_CONFIG", config).env("TMPDIR", folder.path())
    };
    let copies = || {
        let below = fs::read_dir(folder.path()).unwrap().flatten().map(|entry| entry.path().join("rclone.conf"));
        below.filter(|copy| copy.exists()).collect::<Vec<_>>()
    };
    let job = list(&mounted.config()).spawn();
    eventually(SOON, "a copy", || (!copies().is_empty()).then_some(()));
    drop(job);
    let [copy] = &copies()[..] else { panic!("{:?}", copies()) };
    let text = fs::read_to_string(copy).unwrap();
    assert!(text.contains("RCLONE_ENCRYPT_V0:") && !text.contains(remote.secret().unwrap()), "{text}");
    let readable = Mounted::new(remote.config());
    list(&readable.config()).exits(0);
    assert_eq!(copies(), [""; 0].map(std::path::PathBuf::from));
}
