//! What a failure of rclone means, by the words of rclone and of the stores.

use crate::exit::Exit;

/// Parts of the messages of rclone and of stores about a wrong setting, in lower case.
const SETTINGS: [&str; 53] = [
    // Of rclone about its configuration and its flags.
    "didn't find section in config file",
    "didn't find backend called",
    "config name contains invalid characters",
    "failed to load config",
    "couldn't parse config item",
    "not found in config",
    "unknown flag",
    "flag needs an argument",
    "invalid argument \"",
    "as an http header",
    "--bind: failed to parse",
    "--ca-cert file",
    "--client-cert",
    "unable to decrypt configuration",
    "couldn't decrypt configuration",
    "couldn't find type of fs",
    "failed to make password",
    "password not set",
    "is it obscured?",
    // Of remotes that wrap another one.
    "check the value of the remote",
    "check the value of the upstreams",
    "can't use empty string as a path",
    "in upstream definition",
    "unknown file name encryption mode",
    "unknown file name encoding mode",
    // Of backends about their options.
    "chunk size: ",
    "no authentication method configured",
    "container name in sas url",
    "decode account key",
    "\": account not found",
    "\": auth not found",
    "\": key not found",
    "access_key_id not found",
    "secret_access_key not found",
    "error opening service account credentials file",
    "error processing credentials",
    "empty token found",
    "there's no refresh token",
    "failed to read private key file",
    "failed to parse private key file",
    "couldn't connect to ssh-agent",
    "couldn't parse known_hosts_file",
    "ssh external: start process",
    "unsupported protocol scheme",
    "in host name",
    "invalid port \"",
    "was not a valid uri",
    // Of stores.
    "nosuchbucket",
    "bucket does not exist",
    "containernotfound",
    "invalidbucketname",
    "invalidresourcename",
    "resource name length",
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
    if is_usage || has(&SETTINGS) || names_no_program(&complaint) {
        Exit::Settings
    } else if has(&DENIED) && !has(&LIMITED) {
        Exit::Denied
    } else {
        Exit::Store
    }
}

/// Whether the command that gets a token is not there. If it runs and fails, the server that it asks may be away.
fn names_no_program(complaint: &str) -> bool {
    let is_missing = ["no such file", "not found in $path"].iter().any(|words| complaint.contains(words));
    let is_started = ["fork/exec ", ": exec: "].iter().any(|words| complaint.contains(words));
    complaint.contains("failed to get bearer token using") && is_started && is_missing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Job tries again only what is not a setting.
    #[test]
    fn what_may_mend_by_itself_is_no_setting() {
        for complaint in [
            r#"Failed to create file system for "c:b": failed to get bearer token using "/t": curl: (7) Failed to connect to h port 80: Connection refused: exit status 7"#,
            r#"Failed to create file system for "c:b": failed to get bearer token using "/t": cat: x: No such file or directory: exit status 1"#,
            r#"Failed to create file system for "c:b": failed to configure Google Cloud Storage: google: could not find default credentials. See https://cloud.google.com/docs/authentication/external/set-up-adc for more information"#,
            r#"Failed to create file system for "c:b": can not create client, bad configuration: did not find a proper configuration for tenancy"#,
        ] {
            assert_eq!(classify(Some(1), complaint), Exit::Store, "{complaint}");
        }
        let missing = r#"failed to get bearer token using "t": : exec: "t": executable file not found in $PATH"#;
        assert_eq!(classify(Some(1), missing), Exit::Settings);
    }

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
            r#"Failed to create file system for "c:": failed to decrypt password: input too short when revealing password - is it obscured?"#,
            r#"Failed to create file system for "c:": failed to decrypt password2: base64 decode failed when revealing password - is it obscured?: illegal base64 data at input byte 0"#,
            r#"Failed to create file system for "c:b": NewFS decrypt password: base64 decode failed when revealing password - is it obscured?: illegal base64 data at input byte 4"#,
            r#"Failed to create file system for "a$b:x": config name contains invalid characters - may only contain numbers, letters, `_`, `-`, `.`, `+`, `@` and space, while not start with `-` or space, and not end with space"#,
            r#"Failed to create file system for "c:": didn't find backend called "foo""#,
            r#"Failed to create file system for "c:b": couldn't parse config item "env_auth" = "maybe" as bool: parsing "maybe" as bool failed: strconv.ParseBool: parsing "maybe": invalid syntax"#,
            r#"Failed to create file system for "c:b": s3: chunk size: 1Ki is less than 5Mi"#,
            r#"Failed to create file system for "c:b": no authentication method configured"#,
            r#"Failed to create file system for "c:b": container name in SAS URL ("x") and container provided in command ("b") do not match"#,
            r#"Failed to create file system for "c:b": account not found"#,
            r#"Failed to create file system for "c:b": key not found"#,
            r#"Failed to create file system for "c:b": auth not found"#,
            r#"Failed to create file system for "c:b": couldn't connect to ssh-agent: SSH agent requested but SSH_AUTH_SOCK not-specified"#,
            r#"Failed to create file system for "c:b": failed to read private key file: open /id: permission denied"#,
            r#"Failed to create file system for "c:b": failed to parse private key file: ssh: no key found"#,
            r#"Failed to create file system for "c:b": NewFs: couldn't initialise SFTP: ssh external: start process: fork/exec /nonexist: no such file or directory"#,
            r#"Failed to create file system for "c:b": failed to get bearer token using "/nonexist": : fork/exec /nonexist: no such file or directory"#,
            r#"Failed to create file system for "c:b": read metadata failed: Propfind "foo/b": unsupported protocol scheme """#,
            r#"Failed to create file system for "c:b": parse "http://a b/": invalid character " " in host name"#,
            r#"Failed to create file system for "c:b": failed configuring Google Cloud Storage Service Account: error processing credentials: invalid character 'o' in literal null (expecting 'u')"#,
            r#"Failed to create file system for "c:b": drive: failed when making oauth client: failed to create oauth client: empty token found - please run "rclone config reconnect c:""#,
            r#"Failed to create file system for "c:b": couldn't find root directory ID: Get "https://www.googleapis.com/x": token expired and there's no refresh token - manually refresh with "rclone config reconnect c:""#,
            r#"Failed to create file system for "c:b": alias can't point to an empty remote - check the value of the remote setting"#,
            r#"Failed to create file system for "c:b": can't point crypt remote at itself - check the value of the remote setting"#,
            r#"Failed to create file system for "c:b": union can't point to a single upstream - check the value of the upstreams setting"#,
            r#"Failed to create file system for "c:b": no "=" in upstream definition "x""#,
            r#"Failed to create file system for "c:b": failed to parse remote "" to wrap: can't use empty string as a path"#,
            r#"Failed to create file system for "c:": unknown file name encryption mode "foo""#,
            "operation error S3: ListObjectsV2, resolve auth scheme: resolve endpoint: endpoint rule error, Custom endpoint `http://a b` was not a valid URI",
            r#"Failed to read --ca-cert file "/nonex" : open /nonex: no such file or directory"#,
            r#"Failed to add certificates from --ca-cert file "k""#,
            "Both --client-cert and --client-key must be set",
            r#"invalid argument "foo" for "--bwlimit" flag: parsing "foo" as fs.BwTimetable failed: bad suffix 'o'"#,
            "flag needs an argument: --contimeout",
            r#"--bind: Failed to parse "foo" as IP address: lookup foo: no such host"#,
            r#"failed to parse "foo" as an HTTP header. Expecting a string like: 'Cache-Control: no-store'"#,
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
