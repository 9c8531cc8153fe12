//! The `rclone.conf` that rclone is given: the user's own, or a private copy of one that rclone could not save to, and what
//! becomes of the refresh tokens in it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, OnceLock};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, access, statx};

use super::config_files::ConfigFile;
use super::seal;
use super::sections::Sections;
use crate::snapshot::Workspace;
use crate::system::fs::{create_new, parent_dir, read_small};

/// With which rclone reads and writes a sealed configuration.
const PASSWORD: &str = "RCLONE_CONFIG_PASS";
/// The other way to give it, which counts more.
const PASSWORD_COMMAND: &str = "RCLONE_PASSWORD_COMMAND";

/// It is found at the very end, after a signal or the deadline, too, when there is nobody left to return it to.
static LOST: OnceLock<String> = OnceLock::new();
static WARNED: Once = Once::new();
/// Of a file, the text with the tokens that are valid now, for the next copy of it in this process: a remote that was away
/// is opened again.
static RENEWED: Mutex<Option<(PathBuf, Vec<u8>)>> = Mutex::new(None);

/// Why a refresh token that rclone was given in this process is lost.
pub fn lost_token() -> Option<&'static str> {
    LOST.get().map(String::as_str)
}

#[derive(Debug)]
pub struct PrivateConfig {
    original: PathBuf,
    copy: Option<Copy>,
}

/// Removed with this value. That of a process that was killed is removed by the next one, and is sealed until then. It is no
/// memory file: as root, rclone saves its changes to the path that the link in `/proc` shows, which is one in `/`.
#[derive(Debug)]
struct Copy {
    path: PathBuf,
    /// `None` where only rclone knows it.
    password: Option<String>,
    /// Whether the original is sealed, too, and with that password.
    was_sealed: bool,
    /// What it was at the start, as it lies on the disk.
    first: Vec<u8>,
    /// The sections with a refresh token that are in use.
    renewable: OnceLock<Vec<String>>,
    /// The sections whose refresh token is another one, as rclone reads a copy that cannot be read here.
    told: OnceLock<Vec<String>>,
    _directory: Workspace,
}

/// What rclone has changed in a copy.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// The sections whose refresh token is another one now.
    Known(Vec<String>),
    /// Only rclone has the password.
    Sealed,
}

impl PrivateConfig {
    /// `environment` is rclone's, which gets the password of a copy.
    pub fn new(file: &ConfigFile, environment: &mut BTreeMap<String, String>) -> io::Result<Self> {
        // rclone saves OAuth tokens that it renewed. Where it cannot, it tries that eleven times, which takes as many
        // seconds, and then logs an error.
        let copy = if can_be_saved(&file.path) { None } else { Some(Copy::new(file, environment)?) };
        Ok(Self { original: file.path.clone(), copy })
    }

    /// Of rclone's own configuration, which is the first of these files; `None` if rclone can save it.
    pub fn of_own(files: &[ConfigFile], environment: &mut BTreeMap<String, String>) -> Option<Self> {
        let file = files.first().filter(|file| !can_be_saved(&file.path))?;
        Self::new(file, environment).ok()
    }

    /// The file that the user wrote, for messages.
    pub fn shown(&self) -> String {
        self.original.display().to_string()
    }

    pub fn path(&self) -> &Path {
        self.copy.as_ref().map_or(&self.original, |copy| &copy.path)
    }

    /// Whether there is a token in use, and a change that only rclone can read.
    pub fn has_sealed_change(&self) -> bool {
        let is_in_use = |copy: &&Copy| copy.renewable.get().is_some_and(|sections| !sections.is_empty());
        self.copy.as_ref().filter(is_in_use).is_some_and(|copy| copy.change() == Change::Sealed)
    }

    /// Learns what was changed from what rclone reads at the start and at the end.
    pub fn compare(&self, first: &Sections, now: &Sections) {
        let Some(copy) = &self.copy else { return };
        let tokens = |sections: &Sections| {
            let of = |name: &String| Some((name.clone(), refresh_token(sections.get(name)?.get("token")?)?));
            copy.renewable.get().into_iter().flatten().filter_map(of).collect()
        };
        // At the end it is asked once.
        let _ = copy.told.set(renewed(tokens(first), &tokens(now)));
    }

    /// Warns of refresh tokens that could not be saved, once in a process. `sections` are those in use that have one.
    pub fn expect_renewal(&self, sections: Vec<String>) {
        let Some(copy) = self.copy.as_ref().filter(|_| !sections.is_empty()) else { return };
        WARNED.call_once(|| {
            tracing::warn!(
                "rclone-config: {} is where rclone cannot save it; when the refresh token of [{}] is renewed, the new one \
                 will be lost, and the next run fails if the provider accepts each one only once; {ADVICE}",
                self.shown(),
                sections.join("], [")
            );
        });
        // Another look finds the same.
        let _ = copy.renewable.set(sections);
    }
}

const ADVICE: &str = "put the file into a directory that this user can write to, or use credentials that do not change";

impl Drop for PrivateConfig {
    fn drop(&mut self) {
        let Some(copy) = &self.copy else { return };
        let lost = match copy.change() {
            Change::Known(lost) => lost,
            Change::Sealed => {
                copy.hand_on(&self.original);
                copy.told.get().cloned().unwrap_or_default()
            }
        };
        if lost.is_empty() {
            return;
        }
        let why = format!(
            "rclone-config: the refresh token of [{}] was renewed, and the new one is lost, because rclone cannot save it \
             to {}; if the next run is refused, authorise the remote again; {ADVICE}",
            lost.join("], ["),
            self.shown()
        );
        copy.hand_on(&self.original);
        if LOST.set(why.clone()).is_ok() {
            tracing::error!("{why}");
        }
    }
}

impl Copy {
    fn new(file: &ConfigFile, environment: &mut BTreeMap<String, String>) -> io::Result<Self> {
        let renewed = RENEWED.lock().ok().and_then(|renewed| renewed.clone());
        let text = match renewed {
            Some((original, text)) if original == file.path => text,
            _ => file.text.clone(),
        };
        let was_sealed = seal::is_sealed(&text);
        let (first, password) = if was_sealed {
            (text, environment.get(PASSWORD).cloned())
        } else {
            let password = seal::new_password()?;
            environment.remove(PASSWORD_COMMAND);
            environment.insert(PASSWORD.into(), password.clone());
            (seal::seal(&text, &password)?, Some(password))
        };
        let directory = Workspace::temporary()?;
        let path = directory.path().join("rclone.conf");
        io::copy(&mut first.as_slice(), &mut create_new(&path)?)?;
        Ok(Self {
            path,
            password,
            was_sealed,
            first,
            renewable: OnceLock::new(),
            told: OnceLock::new(),
            _directory: directory,
        })
    }

    fn change(&self) -> Change {
        let now = match read_small(&self.path) {
            Ok(now) if now != self.first => now,
            _ => return Change::Known(Vec::new()),
        };
        let tokens = |sealed: &[u8]| {
            let text = seal::open(sealed, self.password.as_ref()?)?;
            Some(refresh_tokens(&String::from_utf8_lossy(&text)))
        };
        match (tokens(&self.first), tokens(&now)) {
            (Some(first), Some(now)) => Change::Known(renewed(first, &now)),
            _ => Change::Sealed,
        }
    }

    fn hand_on(&self, original: &Path) {
        let now = read_small(&self.path).ok();
        let text = if self.was_sealed {
            now
        } else {
            now.zip(self.password.as_ref()).and_then(|(now, p)| seal::open(&now, p))
        };
        if let (Some(text), Ok(mut renewed)) = (text, RENEWED.lock()) {
            *renewed = Some((original.to_owned(), text));
        }
    }
}

/// The sections whose token is another one. One that is gone was given up by the provider, and nothing of use is lost.
fn renewed(first: BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let is_other = |(name, token): &(String, String)| now.get(name).is_some_and(|now| now != token);
    first.into_iter().filter(is_other).map(|(name, _)| name).collect()
}

/// The refresh tokens of a configuration, by section. An access token beside one changes every hour and is worth nothing.
fn refresh_tokens(config: &str) -> BTreeMap<String, String> {
    let mut section = "";
    let mut tokens = BTreeMap::new();
    for line in config.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some(token) = line.split_once('=').filter(|(key, _)| key.trim() == "token") {
            tokens.extend(refresh_token(token.1).map(|token| (section.to_owned(), token)));
        }
    }
    tokens
}

/// Of the value of an option `token`, which is JSON.
pub fn refresh_token(value: &str) -> Option<String> {
    let token: serde_json::Value = serde_json::from_str(value.trim()).ok()?;
    let token = token.get("refresh_token")?.as_str()?;
    (!token.is_empty()).then(|| token.to_owned())
}

/// Whether rclone can save to the file, for which it makes another one beside it and renames that.
fn can_be_saved(original: &Path) -> bool {
    let Ok(file) = original.canonicalize() else { return false };
    let may = |path: &Path, access_for| access(path, access_for).is_ok();
    let directory = parent_dir(&file);
    may(&file, rustix::fs::Access::WRITE_OK)
        && directory.is_ok_and(|dir| may(&dir, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK))
        && !is_mounted(&file)
}

/// Whether the file itself is mounted, as containers do with single files. Nothing can be renamed over that.
fn is_mounted(file: &Path) -> bool {
    let root = StatxAttributes::MOUNT_ROOT;
    match statx(CWD, file, AtFlags::empty(), StatxFlags::empty()) {
        Ok(stat) if stat.stx_attributes_mask.contains(root) => stat.stx_attributes.contains(root),
        // Kernels before 5.8 do not tell.
        _ => read_small(Path::new("/proc/self/mountinfo")).is_ok_and(|mounts| is_mount_point(&mounts, file)),
    }
}

/// Whether one of the lines of `/proc/self/mountinfo` has `file` as its mount point, the fifth field, in which blanks and
/// backslashes are escaped in octal.
fn is_mount_point(mounts: &[u8], file: &Path) -> bool {
    let mut escaped = Vec::new();
    for &byte in file.as_os_str().as_bytes() {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => escaped.extend(format!("\\{byte:03o}").bytes()),
            _ => escaped.push(byte),
        }
    }
    mounts.split(|byte| *byte == b'\n').any(|line| line.split(|byte| *byte == b' ').nth(4) == Some(&escaped))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(access: &str, refresh: &str) -> String {
        format!(
            "[plain]\ntype = s3\nsecret_access_key = x\n[drive]\ntype = drive\n\
             token = {{\"access_token\":\"{access}\",\"refresh_token\":\"{refresh}\",\"expiry\":\"2026-01-01T00:00:00Z\"}}\n\
             [old]\ntoken = {{\"access_token\":\"a\"}}\n[odd]\ntoken = plain\n"
        )
    }

    #[test]
    fn only_a_refresh_token_that_changed_is_lost() {
        let tokens = |access, refresh| refresh_tokens(&config(access, refresh));
        assert_eq!(tokens("a", "r"), [("drive".to_owned(), "r".to_owned())].into());
        assert_eq!(renewed(tokens("a", "r"), &tokens("b", "r")), [""; 0]);
        assert_eq!(renewed(tokens("a", "r"), &tokens("b", "s")), ["drive"]);
        assert_eq!(renewed(tokens("a", "r"), &BTreeMap::new()), [""; 0]);
    }

    #[test]
    fn a_copy_is_sealed_and_its_changes_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("rclone.conf");
        fs::write(&original, config("a", "r")).unwrap();
        let mut environment = BTreeMap::from([(PASSWORD_COMMAND.to_owned(), "false".to_owned())]);
        let read = || ConfigFile { path: original.clone(), text: fs::read(&original).unwrap() };
        let copy = Copy::new(&read(), &mut environment).unwrap();
        assert_eq!(environment.keys().collect::<Vec<_>>(), [PASSWORD]);
        let written = fs::read(&copy.path).unwrap();
        assert!(seal::is_sealed(&written));
        assert_eq!(fs::metadata(&copy.path).unwrap().permissions().mode() & 0o777, 0o600);
        let change = |text: &str| fs::write(&copy.path, seal::seal(text.as_bytes(), &environment[PASSWORD]).unwrap());
        assert_eq!(copy.change(), Change::Known(Vec::new()));
        change(&config("b", "r")).unwrap();
        assert_eq!(copy.change(), Change::Known(Vec::new()));
        change(&config("b", "s")).unwrap();
        assert_eq!(copy.change(), Change::Known(vec!["drive".into()]));
        // The next one has what is valid now.
        copy.hand_on(&original);
        let next = Copy::new(&read(), &mut environment.clone()).unwrap();
        let text = seal::open(&next.first, next.password.as_ref().unwrap()).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), config("b", "s"));
        // One whose password only rclone has.
        let copy = Copy { password: None, ..copy };
        let section = |token: &str| BTreeMap::from([("token".to_owned(), format!(r#"{{"refresh_token":"{token}"}}"#))]);
        let sections =
            |drive, other| Sections::from([("drive".into(), section(drive)), ("other".into(), section(other))]);
        let private = PrivateConfig { original: original.clone(), copy: Some(copy) };
        assert!(!private.has_sealed_change());
        private.copy.as_ref().unwrap().renewable.set(vec!["drive".into()]).unwrap();
        assert!(private.has_sealed_change());
        // One that is not in use may be renewed by others.
        private.compare(&sections("r", "a"), &sections("r", "b"));
        assert_eq!(private.copy.as_ref().unwrap().told.get(), Some(&Vec::new()));
    }

    #[test]
    fn what_can_be_saved_needs_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let original = folder.path().join("rclone.conf");
        assert!(!can_be_saved(&original));
        fs::write(&original, "").unwrap();
        assert!(can_be_saved(&original));
        let mounts = b"22 1 0:21 / / rw - x x rw\n23 22 0:5 /f /a\\040b\\134c rw,x - ext4 /dev/x rw\n";
        let is = |file: &str| is_mount_point(mounts, Path::new(file));
        assert!(is("/a b\\c") && is("/") && !is("/a") && !is("/f"));
        // To root, who may write everywhere, too.
        assert!(!is_mounted(&original) && is_mounted(Path::new("/proc")) && !can_be_saved(Path::new("/proc")));
    }
}
