//! What a failure of rclone means, by the words of rclone and of the stores.

use crate::exit::Exit;

/// Parts of the messages of rclone and of stores about a wrong setting, in lower case.
const SETTINGS: [&str; 24] = [
    "didn't find section in config file",
    "didn't find backend called",
    "failed to load config",
    "couldn't parse config item",
    "not found in config",
    "unknown flag",
    "invalid argument \"",
    "nosuchbucket",
    "bucket does not exist",
    "containernotfound",
    "invalidbucketname",
    "invalidresourcename",
    "resource name length",
    "decode account key",
    "error opening service account credentials file",
    "failed to read private key file",
    "couldn't parse known_hosts_file",
    "access_key_id not found",
    "secret_access_key not found",
    "unable to decrypt configuration",
    "couldn't decrypt configuration",
    "couldn't find type of fs",
    "password not set",
    "failed to make password",
];
/// Parts of their messages about credentials that are wrong or may not do enough.
const DENIED: [&str; 23] = [
    "accessdenied",
    "access denied",
    "permission denied",
    "signaturedoesnotmatch",
    "invalidaccesskeyid",
    "requesttimetooskewed",
    "expiredtoken",
    "invalidtoken",
    "unauthorized",
    "forbidden",
    "statuscode: 403",
    "statuscode: 401",
    // Of Azure's and of Google's stores. Their words are other ones for each reason.
    "response 403",
    "response 401",
    "googleapi: error 403",
    "googleapi: error 401",
    "authenticationfailed",
    "authorizationfailure",
    "invalid_grant",
    "unable to authenticate",
    "no such access key",
    "authorization header is malformed",
    "operation not permitted",
];

/// Of Google's, too, and with the status 403: the store asks for fewer requests.
const LIMITED: [&str; 2] = ["ratelimitexceeded", "quotaexceeded"];

/// The exit that a failure of rclone leads to.
pub fn classify(code: Option<i32>, complaint: &str) -> Exit {
    // rclone's exit code is 1 for nearly everything: a missing bucket, a wrong key, a store that answers 503.
    let complaint = complaint.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    // Before rclone 1.69 this is the code of failures of no other kind, so the words decide here too.
    let is_usage = code == Some(2) && has(&["unknown flag", "usage"]);
    // Settings first, because a message about one may quote a name such as `forbidden`.
    if is_usage || has(&SETTINGS) {
        Exit::Settings
    } else if has(&DENIED) && !has(&LIMITED) {
        Exit::Denied
    } else {
        Exit::Store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        assert_eq!(classify(Some(1), "didn't find section in config file (\"x\")"), Exit::Settings);
        assert_eq!(classify(Some(1), "api error SignatureDoesNotMatch: The request"), Exit::Denied);
        assert_eq!(classify(Some(5), "dial tcp: connection refused"), Exit::Store);
        assert_eq!(classify(Some(2), "Usage: rclone copyto"), Exit::Settings);
        assert_eq!(classify(Some(1), "disk usage is high"), Exit::Store);
        assert_eq!(classify(Some(1), "open x: Permission denied"), Exit::Denied);
        // A missing section is a wrong setting, whatever else the message says.
        assert_eq!(classify(Some(1), "didn't find section in config file (\"forbidden\")"), Exit::Settings);
        assert_eq!(classify(None, ""), Exit::Store);
        for complaint in [
            "GET https://a.example/c RESPONSE 403: 403 This request is not authorized to perform this operation using this permission. ERROR CODE: AuthorizationPermissionMismatch",
            "googleapi: Error 401: Anonymous caller does not have storage.objects.list access, required",
        ] {
            assert_eq!(classify(Some(1), complaint), Exit::Denied, "{complaint}");
        }
        // Of rclone 1.75.2.
        for complaint in [
            "create new shared key credential failed: decode account key: illegal base64 data at input byte 7",
            "error opening service account credentials file: open /k.json: no such file or directory",
            "couldn't parse known_hosts_file: open /known_hosts: no such file or directory",
            "failed to read private key file: open /id: no such file or directory",
            "RESPONSE 400: 400 The specified resource name length is not within the permissible limits. ERROR CODE: OutOfRangeInput",
            "https response error StatusCode: 400, RequestID: , HostID: , api error InvalidBucketName: x",
        ] {
            assert_eq!(classify(Some(1), complaint), Exit::Settings, "{complaint}");
        }
    }
}
