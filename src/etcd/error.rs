//! Words and classes for what goes wrong with a member.

use std::time::Duration;

use tonic::Code;

use crate::exit::Exit;

/// How a member failed us.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It did not answer in time.
    #[error("{what}: no answer within {} s", limit.as_secs())]
    Silent {
        /// What was asked.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
    },
    /// One of both sides does not trust the other's certificate.
    #[error("TLS: {0}")]
    Tls(String),
    /// etcd's own authentication says no.
    #[error("{what}: {words}")]
    Denied {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        words: String,
    },
    /// Anything else.
    #[error("{what}: {words}")]
    Failed {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        words: String,
    },
}

/// How etcd says no; most of it comes with the code `Unknown` or `InvalidArgument`.
const DENIALS: [&str; 4] = ["permission denied", "authentication failed", "user name is empty", "invalid auth token"];
/// There is no lesser role that may take a snapshot.
const NEEDED: &str = "a backup needs a user with etcd's role `root`, in ETCDCTL_USER and ETCDCTL_PASSWORD or as the client certificate's common name";

impl Error {
    /// The exit that this leads to when no member did better.
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Silent { .. } | Self::Failed { .. } => Exit::NoMember,
            Self::Tls(_) => Exit::Settings,
            Self::Denied { .. } => Exit::Denied,
        }
    }

    /// From etcd-client, whose own texts leave out the cause.
    pub fn new(what: &'static str, error: &etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => Self::from_status(what, status),
            etcd_client::Error::TransportError(e) => Self::from_chain(what, e),
            other => Self::Failed { what, words: other.to_string() },
        }
    }

    fn from_status(what: &'static str, status: &tonic::Status) -> Self {
        let message = status.message();
        let denied = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
            || message.starts_with("auth: ")
            || DENIALS.iter().any(|words| message.contains(words));
        if denied {
            return Self::Denied { what, words: format!("{message}; {NEEDED}") };
        }
        match std::error::Error::source(status) {
            Some(source) => Self::from_chain(what, source),
            None => Self::Failed { what, words: format!("{message} ({:?})", status.code()) },
        }
    }

    /// From an error of the transport, whose causes say what its own text does not.
    pub fn from_chain(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // A wrapper often repeats its cause.
            if !words.iter().any(|w| w.contains(&text)) {
                words.push(text);
            }
            next = error.source();
        }
        words.retain(|w| w != "transport error");
        let words = words.join(": ");
        if let Some((_, plain)) = PLAINER.iter().find(|(rare, _)| words.contains(rare)) {
            return Self::Failed { what, words: (*plain).to_owned() };
        }
        let lower = words.to_lowercase();
        if ["certificate", "fatal alert"].iter().any(|w| lower.contains(w)) {
            return Self::Tls(explain_tls(&words));
        }
        Self::Failed { what, words }
    }
}

/// What the libraries say, and what it means here.
const PLAINER: [(&str, &str); 2] = [
    ("without sending TLS close_notify", "the member, or something on the way to it, closed the connection"),
    ("stream closed because of a broken pipe", "the connection broke, or is dead and pings are not answered"),
];

fn explain_tls(words: &str) -> String {
    let advice = if words.contains("UnknownIssuer") || words.contains("BadSignature") {
        "the member's certificate is not signed by the authority in cacert"
    } else if words.contains("not valid for name") || words.contains("NotValidForName") {
        "the member's certificate does not name the address dialled; dial another one or set TLS_SERVER_NAME"
    } else if words.contains("fatal alert") {
        "the member does not accept this client's certificate: none is set (ETCDCTL_CERT), or it is not signed for clients by the authority that the member trusts"
    } else if words.contains("not valid yet") {
        "the member's certificate is not valid yet; look at this machine's clock"
    } else if words.contains("extended key usage") {
        "the member's certificate is not a server's; issue one with the usage `server auth`"
    } else if words.contains("xpired") {
        "the member's certificate has expired; renew it"
    } else {
        return words.to_owned();
    };
    format!("{words} ({advice})")
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
