//! The configurations that rclone may read: that of the settings, or its own. Each is read once.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::error::Error;
use super::private_config::PrivateConfig;
use crate::system::fs::read_small;

/// With the bytes that it had.
#[derive(Debug)]
pub struct ConfigFile {
    pub path: PathBuf,
    pub text: Vec<u8>,
}

/// What the files say to those who start rclone.
#[derive(Debug)]
pub struct Opened {
    /// Of all files, for their secrets.
    pub text: String,
    /// `None` where rclone finds its own one, and may save it.
    pub config: Option<PrivateConfig>,
    /// rclone's, with the password of a private copy.
    pub environment: BTreeMap<String, String>,
}

/// `named` is the file of the settings; `own` are the places where rclone looks without one. This blocks as long as a disk
/// hangs.
pub fn open(
    named: Option<PathBuf>,
    own: Vec<PathBuf>,
    mut environment: BTreeMap<String, String>,
) -> Result<Opened, Error> {
    if let Some(path) = named {
        let file = read(path)?;
        let failed = |cause| Error::Config { file: file.path.clone(), cause };
        let config = PrivateConfig::new(&file, &mut environment).map_err(failed)?;
        return Ok(Opened { text: lossy(&file), config: Some(config), environment });
    }
    // rclone may print the secrets of any configuration that it reads, so all of them are searched.
    let mut files = Vec::new();
    for path in own {
        match read(path) {
            Ok(file) => files.push(file),
            // rclone would wait for a pipe for ever, and read a device to its end.
            Err(Error::ConfigFile { file, cause }) if cause.kind() == ErrorKind::Other => {
                return Err(Error::ConfigFile { file, cause });
            }
            // It is missing, or rclone cannot read it either, and says it better.
            Err(_) => {}
        }
    }
    let text = files.iter().map(lossy).collect();
    Ok(Opened { text, config: PrivateConfig::of_own(&files, &mut environment), environment })
}

fn read(path: PathBuf) -> Result<ConfigFile, Error> {
    match read_small(&path) {
        Ok(text) => Ok(ConfigFile { path, text }),
        Err(cause) => Err(Error::ConfigFile { file: path, cause }),
    }
}

fn lossy(file: &ConfigFile) -> String {
    String::from_utf8_lossy(&file.text).into_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_missing_own_file_is_none_and_what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("b"), "[x]\npass = hunter2").unwrap();
        let opened = |own: &[&str]| open(None, own.iter().map(|name| path(name)).collect(), BTreeMap::new());
        let found = opened(&["a", "b", "b/c"]).unwrap();
        assert_eq!((found.text.as_str(), found.config.is_none()), ("[x]\npass = hunter2\n", true));
        fs::create_dir(path("d")).unwrap();
        let error = opened(&["b", "d"]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("rclone-config: cannot read {}: it is a directory, not a regular file", path("d").display())
        );
        assert!(open(Some(path("a")), Vec::new(), BTreeMap::new()).is_err());
    }
}
