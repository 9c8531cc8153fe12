//! What a member's failure is called, and the exit that it leads to.

use std::time::Duration;

use tonic::Code;

use crate::exit::{Exit, Failure};

/// How a member failed. `what` is the request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: no answer within {} s", limit.as_secs())]
    Timeout { what: &'static str, limit: Duration },
    /// One side does not trust the other's certificate, or only one of them speaks TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// etcd's own authentication refuses the user.
    #[error("{what}: {reason}")]
    Denied { what: &'static str, reason: String },
    /// etcd itself answered that it does not do this.
    #[error("{what}: {reason}")]
    Refused { what: &'static str, reason: String },
    #[error("{what}: {reason}")]
    Failed { what: &'static str, reason: String },
}

// Most of these come with the code `Unknown` or `InvalidArgument`, which other failures have, too.
const DENIALS: [&str; 4] = ["permission denied", "authentication failed", "user name is empty", "invalid auth token"];
// The codes with which etcd refuses a request that it has not carried out (`api/v3rpc/rpctypes/error.go`): without space, too
// large, malformed. It is `Unavailable` and its like that leave open what was done.
const REFUSALS: [Code; 5] =
    [Code::ResourceExhausted, Code::InvalidArgument, Code::FailedPrecondition, Code::OutOfRange, Code::Unimplemented];
// etcd has no lesser role that may take a snapshot.
const DENIED_ADVICE: &str = "a backup needs a user with etcd's role `root`, in ETCDCTL_USER and ETCDCTL_PASSWORD or as the client certificate's common name";

impl Error {
    /// The exit that this leads to when no other member does better.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Timeout { .. } | Self::Refused { .. } | Self::Failed { .. } => Exit::NoMember,
            Self::Tls(_) => Exit::Settings,
            Self::Denied { .. } => Exit::Denied,
        }
    }

    /// Whether nothing was done, by the member's own word. After other failures a write may have been made or not.
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::Refused { .. })
    }

    pub fn new(what: &'static str, error: &etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => Self::from_status(what, status),
            // Its text is always "transport error"; the reason is in its causes.
            etcd_client::Error::TransportError(e) => Self::from_chain(what, e),
            other => Self::Failed { what, reason: other.to_string() },
        }
    }

    fn from_status(what: &'static str, status: &tonic::Status) -> Self {
        let message = status.message();
        let denied = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
            || message.starts_with("auth: ")
            || DENIALS.iter().any(|words| message.contains(words));
        if denied {
            return Self::Denied { what, reason: format!("{message}; {DENIED_ADVICE}") };
        }
        if let Some(source) = std::error::Error::source(status) {
            return Self::from_chain(what, source);
        }
        let reason = format!("{message} ({:?})", status.code());
        if REFUSALS.contains(&status.code()) { Self::Refused { what, reason } } else { Self::Failed { what, reason } }
    }

    /// Describes an error by the texts of its causes.
    pub fn from_chain(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // A wrapper often repeats its cause.
            if !texts.iter().any(|t| t.contains(&text)) {
                texts.push(text);
            }
            next = error.source();
        }
        texts.retain(|t| t != "transport error");
        let reason = texts.join(": ");
        if let Some((_, meaning)) = LIBRARY_TEXTS.iter().find(|(text, _)| reason.contains(text)) {
            return Self::Failed { what, reason: (*meaning).to_owned() };
        }
        let lower = reason.to_lowercase();
        if ["certificate", "fatal alert"].iter().any(|mark| lower.contains(mark)) {
            return Self::Tls(explain_tls(&reason));
        }
        Self::Failed { what, reason }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.exit(), error)
    }
}

/// Texts of rustls and h2, and what they mean here.
const LIBRARY_TEXTS: [(&str, &str); 2] = [
    ("without sending TLS close_notify", "the member, or something on the way to it, closed the connection"),
    ("stream closed because of a broken pipe", "the connection broke, or pings are not answered any more"),
];

/// Adds what to do about it.
fn explain_tls(reason: &str) -> String {
    let advice = if reason.contains("UnknownIssuer") || reason.contains("BadSignature") {
        "the member's certificate is not signed by the authority in cacert"
    } else if reason.contains("not valid for name") || reason.contains("NotValidForName") {
        "the member's certificate does not name the address dialled; dial another one or set TLS_SERVER_NAME"
        // An alert comes from the member, so even one that says `expired` means this client's certificate.
    } else if reason.contains("fatal alert") {
        "the member does not accept this client's certificate: none is set (ETCDCTL_CERT), or it is not signed for clients by the authority that the member trusts"
    } else if reason.contains("not valid yet") {
        "the member's certificate is not valid yet; look at this machine's clock"
    } else if reason.contains("extended key usage") {
        "the member's certificate is not a server's; issue one with the usage `server auth`"
    } else if reason.contains("xpired") {
        "the member's certificate has expired; renew it"
    } else {
        return reason.to_owned();
    };
    format!("{reason} ({advice})")
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    #[test]
    fn denials_are_told_from_failures() {
        for status in [
            Status::invalid_argument("etcdserver: user name is empty"),
            Status::unknown("auth: user not found"),
            Status::permission_denied("etcdserver: permission denied"),
            Status::unauthenticated("etcdserver: invalid auth token"),
        ] {
            let error = Error::from_status("status", &status);
            assert_eq!(error.exit(), Exit::Denied, "{error}");
            assert!(error.to_string().contains("role `root`"), "{error}");
        }
        for status in
            [Status::unavailable("etcdserver: leader changed"), Status::data_loss("etcdserver: corrupt cluster")]
        {
            assert_eq!(Error::from_status("status", &status).exit(), Exit::NoMember);
        }
    }
}
