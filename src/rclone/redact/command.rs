//! The secrets in an option that holds a command.

use super::DISTINCT;
use crate::config::rclone_options::is_credential;
use crate::url;

/// A command's words that may be secrets, and the command itself if it has more than its program's name.
pub fn secrets_of_command(command: &str) -> Vec<String> {
    let words = shlex::split(command).unwrap_or_else(|| vec![command.to_owned()]);
    let mut found = passwords(command, &words);
    if words.len() > 1 {
        found.push(command.to_owned());
    }
    for word in words.iter().skip(1) {
        found.extend(long_parts(word));
    }
    found
}

/// The parts of a word that are long enough for a secret, and are no path, no flag, no address, and no name of a value.
fn long_parts(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    let chunks = word.split(|c: char| c.is_whitespace() || "\"'`".contains(c));
    for chunk in chunks.filter(|chunk| !chunk.contains("://") || url::carries_credentials(chunk)) {
        // As in `-uPASSWORD`.
        let of_flag = chunk.strip_prefix('-').filter(|flag| !flag.starts_with('-')).and_then(|flag| flag.get(1..));
        found.extend([Some(chunk), of_flag].into_iter().flatten().map(str::to_owned));
        let mut parts = chunk.split([':', '=']).peekable();
        while let Some(part) = parts.next() {
            let is_name = parts.peek().is_some() && part.chars().all(|c| c.is_ascii_alphabetic() || "-_".contains(c));
            found.extend(Some(part).filter(|_| !is_name).map(str::to_owned));
        }
    }
    found.retain(|part| part.len() >= DISTINCT && !part.starts_with(['/', '-', '~', '.']) && !is_user_at_host(part));
    found
}

/// Whether it is an address of SSH, such as `etcd@backup.example`.
fn is_user_at_host(word: &str) -> bool {
    let is_host =
        |host: &str| host.contains('.') && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    word.split_once('@').is_some_and(|(user, host)| user.chars().all(char::is_alphanumeric) && is_host(host))
}

/// A password among a command's words: behind `-p`, in `-pPASSWORD`, and of a flag that is called so.
fn passwords(command: &str, words: &[String]) -> Vec<String> {
    let names = |flag: &str| flag == "-p" || (flag.starts_with('-') && is_credential(flag));
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        match word.split_once('=') {
            Some((flag, value)) if is_credential(flag) => found.push(value.to_owned()),
            _ if at > 0 && names(&words[at - 1]) => found.push(word.clone()),
            // As behind `sh -c`.
            _ if word != command && word.contains(' ') => found.extend(secrets_of_command(word)),
            _ => found.extend(word.strip_prefix("-p").map(ToOwned::to_owned)),
        }
    }
    // A port and the path of a key are none.
    found.retain(|word| !word.starts_with(['/', '-']) && word.parse::<u16>().is_err());
    found
}
