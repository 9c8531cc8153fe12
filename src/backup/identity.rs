//! What a snapshot says of the cluster that it is of.

use serde::{Deserialize, Serialize};

/// What a snapshot says of the namespace kube-system, whose UID identifies a Kubernetes cluster for its whole life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KubeSystem {
    Uid(String),
    /// There is no such namespace.
    Absent,
    /// It is there, but its UID cannot be read, because namespaces are encrypted at rest.
    Unreadable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_form_in_a_record() {
        let forms = [
            (KubeSystem::Uid("5f1c".into()), r#"{"uid":"5f1c"}"#),
            (KubeSystem::Absent, r#""absent""#),
            (KubeSystem::Unreadable, r#""unreadable""#),
        ];
        for (value, text) in forms {
            assert_eq!(serde_json::to_string(&value).unwrap(), text);
            assert_eq!(serde_json::from_str::<KubeSystem>(text).unwrap(), value);
        }
    }
}
