//! The `ETag` in what rclone dumps of HTTP headers. A dump has secrets in it: nothing else of it is kept, logged or shown.

use super::log::LogLine;

/// What rclone's stderr has of the store's answers, with `--dump=headers`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// Without repetition.
    etags: Vec<ETag>,
}

#[derive(Debug, PartialEq, Eq)]
enum ETag {
    /// Of an object that was sent in parts, as in `9b2cf535f27731c974343645a3985328-3`.
    OfParts(String),
    Other,
}

impl Dump {
    /// Whether a line of stderr is one that nobody else may see.
    pub fn takes(&mut self, line: &str) -> bool {
        // One that is not JSON may be a piece of the dump, too.
        let Ok(line) = serde_json::from_str::<LogLine>(line) else { return true };
        if line.level != "debug" {
            return false;
        }
        for etag in etags(&line.msg) {
            if !self.etags.contains(&etag) {
                self.etags.push(etag);
            }
        }
        true
    }

    /// The one that all answers have; `None` if there is none, or it is not of parts.
    pub fn etag(mut self) -> Option<String> {
        match (self.etags.pop()?, self.etags.is_empty()) {
            (ETag::OfParts(etag), true) => Some(etag),
            _ => None,
        }
    }
}

/// Those in an answer that is no error: `HTTP/1.1 200 OK`, and one header a line.
fn etags(message: &str) -> impl Iterator<Item = ETag> {
    let mut lines = message.lines();
    let status = lines.next().filter(|status| status.starts_with("HTTP/"));
    let is_answer = status.and_then(|status| status.split(' ').nth(1)) == Some("200");
    let headers = lines.filter_map(|line| line.split_once(':')).filter(move |_| is_answer);
    headers
        .filter(|(name, _)| name.eq_ignore_ascii_case("etag"))
        .map(|(_, value)| parse(value.trim().trim_matches('"')))
}

fn parse(etag: &str) -> ETag {
    let is_of_parts = |(md5, count): (&str, &str)| {
        let is_number = (1..=5).contains(&count.len()) && count.bytes().all(|b| b.is_ascii_digit());
        is_number && md5.len() == 32 && md5.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if etag.split_once('-').is_some_and(is_of_parts) { ETag::OfParts(etag.to_owned()) } else { ETag::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "6f7ea1b3571736947b9a33e9ccee516a-3";

    fn dump(messages: &[&str]) -> Option<String> {
        let mut dump = Dump::default();
        for message in messages {
            assert!(dump.takes(&serde_json::json!({ "level": "debug", "msg": message }).to_string()), "{message}");
        }
        dump.etag()
    }

    fn answer(etag: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: 11\r\nEtag: {etag}\r\nServer: x\r\n\r\n")
    }

    #[test]
    fn the_etag_of_parts_is_found() {
        let request = "HEAD /etcd/m11 HTTP/1.1\r\nX-Amz-Security-Token: secret\r\n\r\n";
        let (quoted, plain) = (answer(&format!("\"{ETAG}\"")), answer(ETAG).to_lowercase().replacen("http", "HTTP", 1));
        assert_eq!(dump(&[request, &quoted, "anything", &quoted, &plain]).as_deref(), Some(ETAG));
        assert_eq!(dump(&[&quoted.replace("HTTP/1.1", "HTTP/2.0")]).as_deref(), Some(ETAG));
    }

    #[test]
    fn nothing_else_is_one() {
        let (good, other) = (answer(ETAG), answer("00000000000000000000000000000000-3"));
        assert_eq!(dump(&[]), None);
        assert_eq!(dump(&[&good, &other]), None);
        for etag in ["6f7ea1b3571736947b9a33e9ccee516a", "", "W/x", "6f7ea1b3571736947b9a33e9ccee516a-", "secret-1"] {
            assert_eq!(dump(&[&answer(etag)]), None, "{etag}");
            assert_eq!(dump(&[&good, &answer(etag)]), None, "{etag}");
        }
        let request = good.replace("HTTP/1.1 200 OK", "HEAD /x HTTP/1.1");
        let error = good.replace("200 OK", "404 Not Found");
        assert_eq!(dump(&[&request, &error]), None);
    }

    #[test]
    fn what_is_no_dump_is_for_others() {
        let mut dump = Dump::default();
        assert!(!dump.takes(r#"{"level":"error","msg":"denied"}"#));
        assert!(dump.takes("X-Amz-Security-Token: secret"));
        assert!(dump.takes(r#"{"level":"debug","msg":5}"#));
        assert_eq!(dump, Dump::default());
    }
}
