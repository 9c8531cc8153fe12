//! Whether a failure of rclone says that the store is away, so that it may be there again in a while.

use super::classify::classify;
use crate::exit::Exit;

/// rclone's code for an error that more tries may mend. It is given only where rclone tries again by itself: not for a
/// backend that cannot be opened, and not for an answer with a status such as 503.
const MAY_MEND: i32 = 5;

/// Parts of the messages of rclone, of Go and of ssh about a connection that is not made or breaks off, in lower case.
const CONNECTION: [&str; 19] = [
    "connection refused",
    "connection reset",
    "connection lost",
    "connection timed out",
    "broken pipe",
    "closed network connection",
    "transport connection broken",
    "server closed idle connection",
    "no route to host",
    "host is down",
    "network is unreachable",
    "i/o timeout",
    "timeout awaiting response headers",
    "tls handshake timeout",
    "context deadline exceeded",
    "operation timed out",
    "unexpected eof",
    // Of names: the resolver is away. A name that does not exist is `no such host`.
    "server misbehaving",
    "temporary failure in name resolution",
];
/// The same about a store that is busy or broken.
const BUSY: [&str; 15] = [
    "internal server error",
    "internalerror",
    "bad gateway",
    "service unavailable",
    "serviceunavailable",
    "service_unavailable",
    "gateway timeout",
    "gateway time-out",
    "serverbusy",
    "slowdown",
    "throttl",
    "toomanyrequests",
    "too many requests",
    "ratelimitexceeded",
    "requesttimeout",
];
/// What stands before the HTTP status in the messages of S3, Google's stores and Azure.
const BEFORE_STATUS: [&str; 3] = ["statuscode: ", "googleapi: error ", "response "];

/// `code` is rclone's exit code.
pub fn says(code: Option<i32>, complaint: &str) -> bool {
    let complaint = complaint.to_lowercase();
    // A message may have words of both kinds, because it quotes names.
    if complaint.contains("no such host") || classify(code, &complaint) != Exit::Store {
        return false;
    }
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    code == Some(MAY_MEND) || has(&CONNECTION) || has(&BUSY) || has_status(&complaint) || ends_early(&complaint)
}

fn has_status(complaint: &str) -> bool {
    let after = |label: &&str| complaint.split(*label).skip(1).any(is_status);
    BEFORE_STATUS.iter().any(after)
}

/// Whether the text begins with an HTTP status of a store that is busy or broken. 501 and 507 are not: they last.
fn is_status(text: &str) -> bool {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    // Those from 520 on are of Cloudflare: what is behind it does not answer.
    matches!(digits.parse(), Ok(408 | 429 | 500 | 502..=504 | 520..=524 | 527 | 529))
}

/// Whether it ends in Go's `EOF`, which is an answer that the other side did not give.
fn ends_early(complaint: &str) -> bool {
    complaint.ends_with(": eof") || complaint.contains(": eof (") || complaint.contains(": eof)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const S3: &str = "Failed to copyto: operation error S3: HeadObject, exceeded maximum number of attempts, 2, \
         https response error StatusCode";

    // The texts are those of rclone 1.75.2, unless said otherwise.
    #[test]
    fn a_store_that_is_away() {
        let sent = "0, RequestID: , HostID: , request send failed, Head \"http://192.0.2.9:80/bu/p/a\"";
        for cause in [
            "dial tcp 127.0.0.1:1: connect: connection refused",
            "read tcp 127.0.0.1:39232->127.0.0.1:9701: read: connection reset by peer",
            "net/http: timeout awaiting response headers",
            "EOF",
            "dial tcp 192.0.2.9:80: connect: no route to host",
            "dial tcp 192.0.2.7:80: connect: network is unreachable",
            "dial tcp: lookup store.example: i/o timeout",
            "dial tcp: lookup store.example on 127.0.0.1:53: server misbehaving",
            "dial tcp: lookup store.example on 127.0.0.1:53: read udp 127.0.0.1:4->127.0.0.1:53: read: connection refused",
        ] {
            // The code differs from one backend and one subcommand to the next.
            assert!(says(Some(1), &format!("{S3}: {sent}: {cause}")), "{cause}");
            let webdav = format!("read metadata failed: Propfind \"http://127.0.0.1:1/p\": {cause}");
            assert!(says(Some(1), &format!("Failed to create file system for \"dav:p\": {webdav}")), "{cause}");
        }
        for (code, complaint) in [
            (1, "503, RequestID: , HostID: , api error ServiceUnavailable: Service Unavailable"),
            (1, "503, RequestID: , HostID: , api error SlowDown: Please reduce your request rate."),
            (1, "500, RequestID: , HostID: , api error InternalError: We encountered an internal error."),
            (1, "502, RequestID: , HostID: , api error BadGateway: Bad Gateway"),
            (1, "504, RequestID: , HostID: , api error GatewayTimeout: Gateway Timeout"),
            (1, "429, RequestID: , HostID: , api error TooManyRequests: Too Many Requests"),
            (1, "522, RequestID: , HostID: , api error UnknownError: UnknownError"),
        ] {
            assert!(says(Some(code), &format!("{S3}: {complaint}")), "{complaint}");
        }
        for (code, complaint) in [
            (1, "Failed to create file system for \"dav:p\": read metadata failed: 503 Service Unavailable"),
            (1, "Failed to copyto: read metadata failed: 429 Too Many Requests"),
            (1, "Failed to copyto: read metadata failed: 500 Internal Server Error"),
            (
                1,
                "Failed to create file system for \"sftp:p\": NewFs: couldn't connect SSH: dial tcp 127.0.0.1:1: connect: connection refused",
            ),
            (1, "Failed to create file system for \"sftp:p\": NewFs: couldn't connect SSH: ssh: handshake failed: EOF"),
            (
                1,
                "Failed to create file system for \"sftp:p\": NewFs: couldn't connect SSH: ssh: handshake failed: read tcp 127.0.0.1:38848->127.0.0.1:9703: i/o timeout",
            ),
            (1, "Failed to copyto: Update ReadFrom failed: connection lost"),
            (5, "Failed to copyto: an error of which only the code says that it may mend"),
            // From the sources of Google's and Azure's libraries.
            (1, "Failed to copyto: googleapi: Error 503: Backend Error, backendError"),
            (1, "Failed to copyto: googleapi: Error 403: User Rate Limit Exceeded, userRateLimitExceeded"),
            (
                1,
                "Failed to lsjson: GET https://a.example/c RESPONSE 503: 503 The server is busy. ERROR CODE: ServerBusy",
            ),
        ] {
            assert!(says(Some(code), complaint), "{complaint}");
        }
    }

    #[test]
    fn a_failure_that_lasts() {
        for (code, complaint) in [
            (1, "Failed to create file system for \"x:p\": didn't find section in config file (\"x\")"),
            (1, "Failed to create file system for \"timeout:p\": didn't find section in config file (\"i/o timeout\")"),
            (2, "unknown flag: --no-such-flag"),
            (1, "dial tcp: lookup nosuchhost.invalid on 10.96.0.10:53: no such host"),
            (1, "NewFs: couldn't connect SSH: dial tcp: lookup nosuchhost.invalid on 10.96.0.10:53: no such host"),
            (3, "Failed to lsjson with 2 errors: last error was: error in ListJSON: directory not found"),
            (4, "Failed to copyto: object not found"),
            (9, "Failed to copyto: no files transferred"),
            (1, "https response error StatusCode: 412, RequestID: , HostID: , api error PreconditionFailed: x"),
            (1, "https response error StatusCode: 404, RequestID: , HostID: , NoSuchBucket: x"),
            (1, "https response error StatusCode: 403, RequestID: , HostID: , api error Forbidden: Forbidden"),
            (1, "https response error StatusCode: 403, RequestID: 1, HostID: , api error SignatureDoesNotMatch: x"),
            (1, "https response error StatusCode: 403, RequestID: 1, HostID: , api error RequestTimeTooSkewed: x"),
            (1, "https response error StatusCode: 501, RequestID: , HostID: , api error NotImplemented: x"),
            (1, "https response error StatusCode: 507, RequestID: , HostID: , api error InsufficientStorage: x"),
            (1, "Failed to copyto: read metadata failed: 507 Insufficient Storage"),
            (1, "Failed to copyto: read metadata failed: 403 Forbidden"),
            (1, "NewFs: couldn't connect SSH: ssh: handshake failed: knownhosts: key mismatch"),
            (
                1,
                "NewFs: couldn't connect SSH: ssh: handshake failed: ssh: unable to authenticate, attempted methods [none password], no supported methods remain",
            ),
            (1, "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
            (1, "failed to authenticate decrypted block - bad password?"),
            (1, "write /backup/x: no space left on device"),
            (1, ""),
        ] {
            assert!(!says(Some(code), complaint), "{complaint}");
        }
        assert!(!says(None, "it gave no reason"));
    }
}
