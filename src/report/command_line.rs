//! Commands of this program that people are told to type. Pure.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The program's name and these words, quoted for a shell.
pub fn command_line<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> String {
    let words = words.into_iter().map(|word| quoted(word.as_ref().as_bytes()));
    std::iter::once("etcd-backup".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &[u8]) -> String {
    let text = str::from_utf8(word).ok().filter(|text| !text.contains(char::is_control));
    // Only a NUL cannot be quoted, and that is a control character.
    let quoted = text.and_then(|text| shlex::try_quote(text).ok());
    // What cannot be printed is written as bash, ksh and zsh read it.
    quoted.map_or_else(|| format!("$'{}'", word.escape_ascii()), Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_one_word_for_a_shell() {
        let line = |words: &[&[u8]]| command_line(words.iter().map(|word| OsStr::from_bytes(word)));
        assert_eq!(line(&[b"accept", b"p-202601020304.etcdb"]), "etcd-backup accept p-202601020304.etcdb");
        assert_eq!(line(&[b"a b", b"$(x)", b""]), "etcd-backup 'a b' '$(x)' ''");
        assert_eq!(line(&[b"it's"]), r#"etcd-backup "it's""#);
        assert_eq!(line(&[b"/a\xff\n'"]), r"etcd-backup $'/a\xff\n\''");
    }
}
