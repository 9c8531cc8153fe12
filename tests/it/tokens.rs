//! OAuth: real rclone renews its token at a server of the test's own, which is also the store, and empty.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rstest::rstest;

use crate::{
    rclone::Mounted,
    support::{output::Report, ports, run::Run, tools},
};

const FIRST: &str = "the-first-refresh-token";
const PASSWORD: &str = "of the configuration";
const BY_VALUE: (&str, &str) = ("RCLONE_CONFIG_PASS", PASSWORD);
const BY_COMMAND: (&str, &str) = ("RCLONE_PASSWORD_COMMAND", "echo of the configuration");
static RENEWALS: AtomicU32 = AtomicU32::new(0);

/// Answers as Google's token server and as its store, and gives a new refresh token with each access token if it `rotates`.
/// It serves until the tests end.
fn google(rotates: bool) -> u16 {
    let port = ports::free();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(|near| drop(serve(near, rotates))));
    port
}

fn serve(mut near: TcpStream, rotates: bool) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut request)?;
    while reader.read_line(&mut line)? > 2 {
        let header = line.to_ascii_lowercase();
        length = header.strip_prefix("content-length:").map_or(length, |value| value.trim().parse().unwrap());
        line.clear();
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let answer = if request.starts_with("POST /token") {
        let number = RENEWALS.fetch_add(1, Ordering::SeqCst);
        let refresh = if rotates { format!("refresh-token-{number}") } else { FIRST.to_owned() };
        format!(
            r#"{{"access_token":"access-token-{number}","refresh_token":"{refresh}","token_type":"Bearer","expires_in":3600}}"#
        )
    } else {
        r#"{"kind":"storage#objects"}"#.to_owned()
    };
    let length = answer.len();
    write!(
        near,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
    )
}

/// A configuration whose access token has expired.
fn config(folder: &Path, port: u16) -> PathBuf {
    let path = folder.join("rclone.conf");
    let server = format!("http://127.0.0.1:{port}");
    let token = format!(
        r#"{{"access_token":"old","refresh_token":"{FIRST}","token_type":"Bearer","expiry":"2020-01-01T00:00:00Z"}}"#
    );
    let section = format!("[g]\ntype = google cloud storage\nclient_id = x\nclient_secret = y\ntoken = {token}\n");
    fs::write(&path, format!("{section}token_url = {server}/token\nendpoint = {server}/\n")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    path
}

fn prune(variable: &str, path: &Path, password: (&str, &str)) -> (Report, String) {
    let run = Run::new().args(["prune", "--retention=10d"]).env(password.0, password.1).env("TARGET", "g:bucket/etcd");
    let run = run.env(variable, path).secret(FIRST).secret("refresh-token-");
    let output = run.exits(0);
    (output.report(), output.stderr)
}

#[rstest]
#[case::only_an_access_token(false, false, BY_VALUE)]
#[case::another_refresh_token(true, false, BY_VALUE)]
#[case::another_one_in_an_encrypted_configuration(true, true, BY_VALUE)]
#[case::only_an_access_token_in_one_whose_password_rclone_gets(false, true, BY_COMMAND)]
#[case::another_refresh_token_in_one_whose_password_rclone_gets(true, true, BY_COMMAND)]
fn a_token_that_cannot_be_saved_costs_no_run_and_is_told(
    #[case] rotates: bool,
    #[case] encrypted: bool,
    #[case] password: (&str, &str),
) {
    needs!("rclone");
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), google(rotates));
    if encrypted {
        let mut rclone = tools::command(tools::tool("rclone"));
        let rclone = rclone.env("HOME", folder.path()).args(["config", "encryption", "set", "--password-command"]);
        let status = rclone.arg(format!("echo {PASSWORD}")).arg("--config").arg(&config).status().unwrap();
        assert!(status.success());
    }
    let mounted = Mounted::new(&config);
    let (report, log) = prune("RCLONE_CONFIG", &mounted.config(), password);
    let path = mounted.config().display().to_string();
    let warning = format!("WARN rclone-config: {path} is where rclone cannot save it; when the refresh token of [g]");
    assert_eq!(log.matches(&warning).count(), 1, "{log}");
    let error = "ERROR rclone-config: the refresh token of [g] was renewed, and the new one is lost";
    assert_eq!(log.matches(error).count(), usize::from(rotates), "{log}");
    assert_eq!(report.value("lost_token").as_str().is_some_and(|why| why.contains(&path)), rotates, "{report:?}");
}

/// The file that rclone finds by itself, as in a home that a unit of systemd may only read.
#[test]
fn the_same_holds_of_rclones_own_configuration() {
    needs!("rclone");
    let folder = tempfile::tempdir().unwrap();
    let mounted = Mounted::new(&config(folder.path(), google(true)));
    std::os::unix::fs::symlink(mounted.config(), folder.path().join(".rclone.conf")).unwrap();
    let (report, log) = prune("HOME", folder.path(), BY_VALUE);
    assert!(log.contains("is where rclone cannot save it"), "{log}");
    assert!(report.text("lost_token").contains("/.rclone.conf"), "{report:?}");
}

#[test]
fn a_token_that_can_be_saved_is() {
    needs!("rclone");
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), google(true));
    let (report, log) = prune("RCLONE_CONFIG", &config, BY_VALUE);
    assert!(report.value("lost_token").is_null() && !log.contains("rclone-config"), "{log}");
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.contains("\"refresh_token\":\"refresh-token-"), "{text}");
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and nothing else is left there");
}
