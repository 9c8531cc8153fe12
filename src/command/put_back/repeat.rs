//! Commands that people are told to type after this one.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::config::{Input, KeysToPutBack};
use crate::report::command_line::command_line;

/// What every such command has in common with the one that was typed.
pub struct Repeat {
    /// The backup's full name: `latest` may be another one by then.
    backup: OsString,
    store: Vec<OsString>,
    /// The other flags as they were typed, without those that choose the keys.
    typed: Vec<OsString>,
}

/// The flags that say where the backups are.
pub fn store(input: &Input) -> Vec<OsString> {
    match input {
        Input::Local(_) => Vec::new(),
        Input::Stored(_, store) => store.flags().into_iter().map(OsString::from).collect(),
    }
}

impl Repeat {
    pub fn new(backup: &str, store: Vec<OsString>, typed: Vec<OsString>) -> Self {
        Self { backup: backup.into(), store, typed }
    }

    /// The command that puts these keys back.
    pub fn line(&self, keys: &KeysToPutBack) -> String {
        let named = keys.keys.iter().map(|key| OsString::from_vec(key.clone()));
        let arguments: Vec<_> = std::iter::once(self.backup.clone()).chain(named).collect();
        // After `--`, what begins with a hyphen is no flag.
        let hyphen = arguments.iter().any(|argument| argument.as_bytes().starts_with(b"-"));
        let (before, after) =
            if hyphen { (vec![], [vec!["--".into()], arguments].concat()) } else { (arguments, vec![]) };
        let (store, typed) = (self.store.clone(), self.typed.clone());
        command_line(
            [vec!["put-back".into()], before, store, chosen(keys), typed, vec!["--yes".into()], after].concat(),
        )
    }
}

fn chosen(keys: &KeysToPutBack) -> Vec<OsString> {
    let mut words = Vec::new();
    if let Some(prefix) = &keys.prefix {
        // In one word where it would be a flag.
        let one_word = prefix.starts_with(b"-");
        let prefix = OsString::from_vec(prefix.clone());
        if one_word {
            let mut word = OsString::from("--prefix=");
            word.push(prefix);
            words.push(word);
        } else {
            words.extend(["--prefix".into(), prefix]);
        }
    }
    words.extend(keys.namespaces.iter().flat_map(|name| ["--namespace".into(), name.into()]));
    words.extend(keys.revision.iter().flat_map(|revision| ["--revision".into(), revision.to_string().into()]));
    words.extend(keys.overwrite.then(|| "--overwrite".into()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_chosen_is_chosen_again() {
        let typed = vec!["--timeout".into(), "5m".into()];
        let repeat = Repeat::new("b", vec!["--target".into(), "t".into()], typed);
        let keys = KeysToPutBack {
            keys: vec![b"/k".to_vec()],
            prefix: Some(b"/a b".to_vec()),
            namespaces: vec!["shop".into(), "web".into()],
            revision: Some(7),
            overwrite: true,
            write: false,
        };
        assert_eq!(
            repeat.line(&keys),
            "etcd-backup put-back b /k --target t --prefix '/a b' --namespace shop --namespace web --revision 7 \
             --overwrite --timeout 5m --yes"
        );
        let bare = Repeat::new("b", vec![], vec![]);
        let line = |key: &str, prefix: Option<&str>| {
            let prefix = prefix.map(|prefix| prefix.as_bytes().to_vec());
            bare.line(&KeysToPutBack { keys: vec![key.into()], prefix, ..KeysToPutBack::default() })
        };
        assert_eq!(line("-k", None), "etcd-backup put-back --yes -- b -k");
        assert_eq!(line("/k", Some("-p")), "etcd-backup put-back b /k '--prefix=-p' --yes");
    }
}
