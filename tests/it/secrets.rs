//! Secrets: in no argument, no text and no file, wherever they are configured and whatever fails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::report::WITH_TERMINATION_LOG;
use crate::support::{
    SOON, etcd::Cluster, file_server::obscured, ports, proxy::Proxy, remote::Remote, run::Run, tools,
};

fn rclone(args: &[&str]) -> String {
    let output = tools::command(tools::tool("rclone")).args(["--config", ""]).args(args).output().unwrap();
    assert!(output.status.success(), "rclone {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// An option of a backend, as the installed rclone describes it.
struct BackendOption {
    name: String,
    flag: String,
    help: String,
    is_secret: bool,
}

fn backend_options() -> Vec<BackendOption> {
    let backends: Vec<Value> = serde_json::from_str(&rclone(&["config", "providers"])).unwrap();
    let of_backend = |backend: &Value| {
        let prefix = backend["Prefix"].as_str().unwrap().to_owned();
        let options = backend["Options"].as_array().cloned().unwrap_or_default();
        options.into_iter().map(move |option| {
            let name = option["Name"].as_str().unwrap().to_owned();
            let has_prefix = option["NoPrefix"] != Value::Bool(true);
            let flag = if has_prefix { format!("{prefix}-{name}") } else { name.clone() };
            BackendOption {
                name,
                flag: flag.replace('_', "-"),
                help: option["Help"].as_str().unwrap().to_lowercase(),
                is_secret: option["IsPassword"] == Value::Bool(true) || option["Sensitive"] == Value::Bool(true),
            }
        })
    };
    backends.iter().flat_map(of_backend).collect()
}

fn flags_in(help: &str) -> impl Iterator<Item = &str> {
    help.lines().filter_map(|line| {
        let (before, rest) = line.split_once("--")?;
        let is_definition = before.starts_with(' ') && before.trim().trim_start_matches('-').len() <= 2;
        is_definition.then(|| rest.split([' ', '=', '[']).next().unwrap_or_default())
    })
}

/// What is sensitive to rclone because it names an account, a place or a person. None of it lets anybody in.
const NO_SECRETS: [&str; 36] = [
    "account",
    "account_id",
    "api_url",
    "app_id",
    "apple_id",
    "base_folder_uuid",
    "client_id",
    "client_uid",
    "cloud_name",
    "compartment",
    "deleted_id",
    "device_id",
    "domain",
    "drive_id",
    "email",
    "host",
    "impersonate",
    "impersonate_admin",
    "msi_client_id",
    "msi_mi_res_id",
    "msi_object_id",
    "namenode",
    "namespace",
    "plex_username",
    "project_number",
    "root_folder_id",
    "root_folder_slug",
    "root_id",
    "service_principal_name",
    "spn",
    "team_drive",
    "tenant",
    "tenant_domain",
    "tenant_id",
    "url",
    "user",
];
const NO_SECRETS_EITHER: [&str; 5] = ["sse_kms_key_id", "user_id", "user_project", "username", "workspace_id"];

/// The options whose help has a word of commands, and that run none.
const NO_COMMANDS: [&str; 12] = [
    "chunk_size",
    "copy_is_hardlink",
    "disable_hashcheck",
    "link_password",
    "link_scope",
    "link_type",
    "list_page_size",
    "path_override",
    "service_principal_file",
    "shared_with_me",
    "shell_type",
    "username",
];

/// So that a newer rclone shows its new options.
#[test]
fn each_option_of_rclone_that_holds_a_secret_or_runs_a_command_is_refused() {
    needs!("rclone");
    let options = backend_options();
    let is_known = |name: &str| NO_SECRETS.contains(&name) || NO_SECRETS_EITHER.contains(&name);
    let is_secret = |option: &&BackendOption| option.is_secret && !is_known(&option.name);
    let mentions_command = |help: &str| {
        ["command", "external ssh", "program to run"]
            .iter()
            .any(|words| help.replace("command line", "").replace("description", "").contains(words))
    };
    let runs_command =
        |option: &&BackendOption| mentions_command(&option.help) && !NO_COMMANDS.contains(&&*option.name);
    let secrets: BTreeSet<_> = options.iter().filter(is_secret).collect_names();
    let commands: BTreeSet<_> = options.iter().filter(runs_command).collect_names();
    assert!(secrets.len() > 50 && commands.len() > 8, "{} secrets, {commands:?}", secrets.len());
    let help = rclone(&["help", "flags"]);
    let global = help.lines().filter(|line| mentions_command(&line.to_lowercase()) && !line.contains("-description "));
    let global = global
        .flat_map(flags_in)
        .filter(|flag| !NO_COMMANDS.iter().any(|known| flag.replace('-', "_").ends_with(known)));
    let global: Vec<_> = global.filter(|flag| !matches!(*flag, "error-on-no-transfer")).map(str::to_owned).collect();
    assert!(global.contains(&"password-command".to_owned()), "{global:?}");
    let refused = |args: [&str; 4]| {
        let output = Run::new().arg("list").args(args).env("PATH", "/nonexistent").exits(2);
        let word = ["credential", "runs a command", "decides what is stored"];
        let error = output.report();
        assert!(word.iter().any(|word| error.text("error").contains(word)), "{args:?} is allowed\n{output}");
    };
    for flag in secrets.iter().chain(&commands).map(|(flag, _)| flag).chain(&global) {
        refused(["--target", "/x", "--rclone-flags", &format!("--{flag}=x")]);
    }
    for (_, name) in secrets.iter().chain(&commands) {
        refused(["--target", &format!("any,{name}=x:x"), "--rclone-flags", ""]);
    }
}

trait Names {
    fn collect_names(self) -> BTreeSet<(String, String)>;
}

impl<'a, I: Iterator<Item = &'a BackendOption>> Names for I {
    fn collect_names(self) -> BTreeSet<(String, String)> {
        self.map(|option| (option.flag.clone(), option.name.clone())).collect()
    }
}

/// `src/rclone/global_flags.txt` is what this computes.
#[test]
fn the_list_of_rclones_own_flags_is_that_of_the_installed_one() {
    needs!("rclone");
    let options: BTreeSet<_> = backend_options().into_iter().map(|option| option.flag).collect();
    let help = rclone(&["help", "flags"]);
    let mut flags: BTreeSet<_> = flags_in(&help).map(str::to_owned).collect();
    for command in ["backend", "cat", "config", "copyto", "delete", "deletefile", "lsjson", "moveto", "rcat", "version"]
    {
        flags.extend(flags_in(&rclone(&[command, "--help"])).map(str::to_owned));
    }
    let flags: BTreeSet<_> = flags.difference(&options).map(String::as_str).collect();
    let listed: BTreeSet<_> = include_str!("../../src/rclone/global_flags.txt").lines().collect();
    let missing: Vec<_> = flags.difference(&listed).collect();
    assert!(missing.is_empty(), "not in src/rclone/global_flags.txt: {missing:?}");
    let gone: Vec<_> = listed.difference(&flags).collect();
    assert!(gone.is_empty(), "only in src/rclone/global_flags.txt: {gone:?}");
    // And no option of a backend is taken for a flag.
    let known: Vec<_> = options.iter().filter(|option| listed.contains(option.as_str())).collect();
    assert!(known.is_empty(), "{known:?}");
}

#[test]
fn rclone_is_given_what_its_backends_read_and_nothing_else() {
    needs!("rclone");
    let remote = Remote::folder();
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("names");
    let script = format!("#!/bin/sh\nenv | sed 's/=.*//' >> '{}'\nexec REAL \"$@\"\n", seen.display());
    let given = [
        "OS_AUTH_URL",
        "ST_KEY",
        "KUBERNETES_SERVICE_HOST",
        "IDENTITY_ENDPOINT",
        "CLOUDSDK_CONFIG",
        "GOMEMLIMIT",
        "RCLONE_PASSWORD_COMMAND",
        "RCLONE_CONFIG_PASS",
        "RCLONE_SMB_HOST",
        "RCLONE_NEVERHEARDOF_REGION",
    ];
    let kept_back = [
        "ETCDCTL_PASSWORD",
        "LD_BIND_NOW",
        "TARGET",
        "RCLONE_CONFIG",
        "RCLONE_FLAGS",
        "RCLONE_DRY_RUN",
        "RCLONE_FILES_ONLY",
        "RCLONE_S3_VERSIONS",
        "EDITOR",
    ];
    let run =
        Run::new().arg("list").rclone_is(&script).env("LOG_LEVEL", "debug").env("ETCDCTL_PASSWORD", "hunter2hunter2");
    let run = given
        .iter()
        .fold(run, |run, name| run.env(name, if *name == "GOMEMLIMIT" { "1GiB" } else { "hunter2hunter2" }));
    let run = ["RCLONE_DRY_RUN", "RCLONE_FILES_ONLY", "RCLONE_S3_VERSIONS"]
        .iter()
        .fold(run, |run, name| run.env(name, "true"));
    let run = run.env("RCLONE_FLAGS", "").env("LD_BIND_NOW", "1").env("EDITOR", "hunter2hunter2");
    let output = run.store(&remote).secret("hunter2hunter2").exits(0);
    let names = fs::read_to_string(seen).unwrap();
    let names: BTreeSet<_> = names.lines().collect();
    for name in given {
        assert!(names.contains(name), "{name} did not arrive: {names:?}");
    }
    let told: Vec<_> = output.stderr.lines().filter(|line| line.contains("is not given these variables")).collect();
    assert_eq!(told.len(), 1, "{output}");
    for name in kept_back {
        assert!(!names.contains(name), "{name} arrived");
        assert!(told[0].contains(name), "{name} is not named\n{output}");
    }
}

/// Distinctive secrets, each in a place of its own.
const SECRETS: [(&str, &str); 9] = [
    ("password", "Se1cret-of-a-password"),
    ("user", "se2cret-user-of-a-url"),
    ("url", "Se3cret-of-a-url"),
    ("signature", "Se4cret%2Fof-a-signature"),
    ("access", "Se5cret-of-an-access-token"),
    ("refresh", "Se6cret-of-a-refresh-token"),
    ("key", "Se7cret/of+a+key="),
    ("wrong place", "se8cret-in-the-wrong-place"),
    ("variable", "Se9cret-of-a-variable"),
];

fn secret(name: &str) -> &'static str {
    SECRETS.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Configurations that fail in their own ways, with all secrets in them, and the exit that they lead to.
fn failing(port: u16) -> Vec<(&'static str, String, i32)> {
    let obscured = obscured(secret("password"));
    let (user, url, signature) = (secret("user"), secret("url"), secret("signature"));
    let (access, refresh, key) = (secret("access"), secret("refresh"), secret("key"));
    let others = format!(
        "\n[other]\ntype = drive\ntoken = {{\"access_token\":\"{access}\",\"refresh_token\":\"{refresh}\",\"expiry\":\"2020-01-01T00:00:00Z\"}}\n"
    );
    let misplaced = secret("wrong place");
    let sections = [
        (
            "unreachable",
            format!("type = webdav\nurl = http://{user}:{url}@127.0.0.1:{port}/?sig={signature}\npass = {obscured}"),
            6,
        ),
        (
            "a signed URL",
            format!("type = webdav\nurl = http://127.0.0.1:{port}/a?X-Amz-Signature={signature}\npass = {obscured}"),
            6,
        ),
        ("a broken URL", format!("type = webdav\nurl = http://{user}:{url}/x@127.0.0.1:{port}/"), 2),
        ("not obscured", format!("type = webdav\nurl = http://127.0.0.1:{port}/\npass = {key}"), 2),
        ("a wrong number", format!("type = s3\nprovider = Other\nchunk_size = {misplaced}"), 2),
        (
            "a wrong endpoint",
            format!(
                "type = s3\nprovider = Other\naccess_key_id = a\nsecret_access_key = {key}\nendpoint = http://{user}:{url}@127.0.0.1:x"
            ),
            2,
        ),
        ("a refused key", format!("type = azureblob\naccount = a\nkey = {misplaced}"), 2),
        (
            "a refused signature",
            format!("type = azureblob\nsas_url = https://a.h.example/other?sv=1&sig={signature}"),
            2,
        ),
        ("a command", format!("type = sftp\nhost = 127.0.0.1\nssh = /nonexistent/sshpass -p {url} ssh"), 2),
        (
            "an expired token",
            format!(
                "type = drive\ntoken = {{\"access_token\":\"{access}\",\"token_type\":\"Bearer\",\"expiry\":\"2020-01-01T00:00:00Z\"}}"
            ),
            2,
        ),
    ];
    sections.into_iter().map(|(name, section, exit)| (name, format!("[store]\n{section}\n{others}"), exit)).collect()
}

fn encrypted(config: &Path) -> PathBuf {
    let copy = config.with_extension("encrypted");
    fs::copy(config, &copy).unwrap();
    let output = tools::command(tools::tool("rclone"))
        .args([
            "config",
            "encryption",
            "set",
            "--password-command",
            &format!("echo {}", secret("variable")),
            "--config",
        ])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(output.status.success() && fs::read_to_string(&copy).unwrap().contains("RCLONE_ENCRYPT_V"), "{output:?}");
    copy
}

/// With a log of all arguments of rclone.
fn discreet(run: Run, argv: &Path) -> Run {
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >> '{}'\nexec REAL \"$@\"\n", argv.display());
    let run = run.rclone_is(&script).env("LOG_LEVEL", "trace").env("RCLONE_CONFIG_OTHER_FOO", secret("variable"));
    SECRETS.iter().fold(run, |run, (_, secret)| run.secret(secret).secret(&secret.replace("%2F", "/")))
}

#[test]
fn no_failure_prints_a_secret() {
    needs!("rclone", "unshare");
    let folder = tempfile::tempdir().unwrap();
    let (argv, config) = (folder.path().join("argv"), folder.path().join("rclone.conf"));
    let port = ports::free();
    for (name, text, exit) in failing(port) {
        fs::write(&config, text).unwrap();
        for config in [config.clone(), encrypted(&config)] {
            let run = discreet(Run::new().arg("list"), &argv).env("RCLONE_CONFIG", &config);
            let run = run.env("TARGET", "store:x/etcd").env("RCLONE_CONFIG_PASS", secret("variable"));
            let output = run.spawn().wait(SOON);
            assert_eq!(output.status.code(), Some(exit), "{name}: {}\n{output}", config.display());
            // What the message is about can still be read.
            let error = output.report().text("error").to_owned();
            assert!(name != "unreachable" || error.contains(&format!("127.0.0.1:{port}/")), "{output}");
        }
    }
    // The pod's termination message says what the error says.
    let silent = Proxy::silent();
    let run = Run::new().through(["unshare", "--mount", "sh", "-c", WITH_TERMINATION_LOG, "sh"]).arg("run");
    let run = discreet(run, &argv).env("RCLONE_CONFIG", &config).env("TARGET", "store:x/etcd");
    let output = run.env("ETCDCTL_ENDPOINTS", format!("http://127.0.0.1:{}", silent.port())).exits(2);
    assert!(output.stderr.contains("etcd-backup run: failed (exit 2: "), "{output}");
    no_secret_in(&fs::read(argv).unwrap(), "an argument");
}

/// Nor does it get to the remote, whose files anybody may read who may read backups.
#[test]
fn no_run_stores_a_secret() {
    needs!("etcd", "rclone");
    let (remote, cluster, folder) = (Remote::webdav(), Cluster::small(), tempfile::tempdir().unwrap());
    let argv = folder.path().join("argv");
    let config = remote.config_with("url = http://", &format!("url = http://{}:{}@", secret("user"), secret("url")));
    let run = discreet(Run::job(&cluster, &remote), &argv).env("RCLONE_CONFIG", encrypted(&config));
    let password = folder.path().join("password");
    fs::write(&password, secret("variable")).unwrap();
    let run = run.env("RCLONE_PASSWORD_COMMAND", format!("cat {}", password.display()));
    let run = run.env("AWS_SECRET_ACCESS_KEY", secret("key"));
    run.exits(0);
    let all = remote.names().into_iter().chain(remote.records().into_iter().map(|name| format!(".etcd-backup/{name}")));
    for name in all {
        no_secret_in(name.as_bytes(), "a name");
        no_secret_in(&remote.read(&name), &name);
    }
    no_secret_in(&fs::read(&argv).unwrap(), "an argument");
    // A flag or a target with a secret never gets as far as an argument.
    let refused = |run: fn(Run) -> Run| {
        let silent = Proxy::silent();
        let job = discreet(Run::new().arg("run"), &argv)
            .env("ETCDCTL_ENDPOINTS", format!("http://127.0.0.1:{}", silent.port()));
        run(job.env("TARGET", "/x")).exits(2);
    };
    refused(|run| {
        run.env("RCLONE_FLAGS", format!("--http-proxy http://{}:{}@h.example", secret("user"), secret("url")))
    });
    refused(|run| run.env("RCLONE_FLAGS", format!("--sftp-ssh 'sshpass -p {} ssh'", secret("url"))));
    refused(|run| run.env("TARGET", format!(":sftp,ssh=\"sshpass -p {} ssh\":b", secret("url"))));
    no_secret_in(&fs::read(argv).unwrap(), "an argument");
}

fn no_secret_in(bytes: &[u8], place: &str) {
    let text = String::from_utf8_lossy(bytes);
    for (name, secret) in SECRETS {
        assert!(!text.contains(secret), "the secret `{name}` is in {place}");
    }
}
