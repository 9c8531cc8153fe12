//! Takes secrets out of whatever rclone printed.

/// Options whose values name things rather than open them; hiding `s3` or `us-east-1` would make errors unreadable.
const HARMLESS: [&str; 10] =
    ["type", "provider", "region", "location_constraint", "acl", "env_auth", "storage_class", "vendor", "host", "port"];
/// A shorter value would hide half of every message, and protects nothing.
const SHORTEST: usize = 4;

/// The values to take out.
#[derive(Debug, Default)]
pub struct Redactor {
    secrets: Vec<String>,
}

impl Redactor {
    /// Learns every value of an `rclone.conf`, and every line that is no setting at all, which rclone would quote in
    /// its complaint.
    pub fn new<'a>(config: &str, more: impl Iterator<Item = &'a str>) -> Self {
        let mut secrets: Vec<String> = more.map(ToOwned::to_owned).collect();
        for line in config.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(['#', ';', '['])) {
            match line.split_once('=') {
                Some((key, value)) if !is_harmless(key.trim(), value.trim()) => secrets.push(value.trim().to_owned()),
                Some(_) => {}
                None => secrets.push(line.to_owned()),
            }
        }
        secrets.retain(|s| s.len() >= SHORTEST);
        // A secret may be part of another one.
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        Self { secrets }
    }

    /// `text` without the secrets.
    pub fn clean(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

fn is_harmless(key: &str, value: &str) -> bool {
    HARMLESS.contains(&key) || matches!(value, "true" | "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_broken_lines_are_taken_out() {
        let config = "[m]\ntype = s3\nprovider = Minio\nsecret_access_key = topsecret\n# note\nbroken SECRETXYZ line\npassword=topsecret2\nbool = true\n";
        let redactor = Redactor::new(config, ["fromenv"].into_iter());
        assert_eq!(
            redactor.clean("s3 Minio topsecret topsecret2 fromenv: could not parse line: broken SECRETXYZ line; true"),
            "s3 Minio *** *** ***: could not parse line: ***; true"
        );
    }
}
