//! The few fields of specs and statuses that decide what becomes of an object that is put back. Pure.

use prost::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::value::{ObjectSummary, message_in};

/// What Kubernetes does with an object as soon as it exists, as far as that depends on more than its metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Detail {
    #[default]
    Nothing,
    /// A Pod that runs on this node.
    Pod { node: String },
    /// A `PersistentVolumeClaim` that is bound to this `PersistentVolume`.
    Claim { volume: String },
    /// A Job that has neither completed nor failed, and is not suspended.
    ActiveJob,
    /// A `CronJob` that is not suspended.
    ActiveCronJob,
}

impl Detail {
    /// `value` is the stored value of `object`.
    pub fn of(value: &[u8], object: &ObjectSummary) -> Self {
        let group = object.api_version.split('/').next().unwrap_or_default();
        let detail = match (group, object.kind.as_str()) {
            ("v1", "Pod") => read::<Pod>(value).and_then(Pod::detail),
            ("v1", "PersistentVolumeClaim") => read::<Claim>(value).and_then(Claim::detail),
            ("batch", "Job") => read::<Job>(value).and_then(Job::detail),
            ("batch", "CronJob") => read::<CronJob>(value).and_then(CronJob::detail),
            _ => None,
        };
        detail.unwrap_or_default()
    }
}

// Each type is read from both forms in which Kubernetes stores objects. The numbers are those of `generated.proto` in
// k8s.io/api, and never change.

fn read<T: Message + Default + DeserializeOwned>(value: &[u8]) -> Option<T> {
    match message_in(value) {
        Some(message) => T::decode(message.as_slice()).ok(),
        None => serde_json::from_slice(value).ok(),
    }
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct Pod {
    #[prost(message, optional, tag = "2")]
    spec: Option<PodSpec>,
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    #[prost(string, tag = "10")]
    node_name: String,
}

impl Pod {
    fn detail(self) -> Option<Detail> {
        let node = self.spec?.node_name;
        (!node.is_empty()).then_some(Detail::Pod { node })
    }
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct Claim {
    #[prost(message, optional, tag = "2")]
    spec: Option<ClaimSpec>,
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClaimSpec {
    #[prost(string, tag = "3")]
    volume_name: String,
}

impl Claim {
    fn detail(self) -> Option<Detail> {
        let volume = self.spec?.volume_name;
        (!volume.is_empty()).then_some(Detail::Claim { volume })
    }
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct Job {
    #[prost(message, optional, tag = "2")]
    spec: Option<JobSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<JobStatus>,
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct JobSpec {
    #[prost(bool, optional, tag = "10")]
    suspend: Option<bool>,
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct JobStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<Condition>,
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct Condition {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    status: String,
}

impl Job {
    fn detail(self) -> Option<Detail> {
        let suspended = self.spec.and_then(|spec| spec.suspend).unwrap_or_default();
        let is_end = |c: &Condition| matches!(c.r#type.as_str(), "Complete" | "Failed") && c.status == "True";
        let ended = self.status.is_some_and(|status| status.conditions.iter().any(is_end));
        (!suspended && !ended).then_some(Detail::ActiveJob)
    }
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct CronJob {
    #[prost(message, optional, tag = "2")]
    spec: Option<CronJobSpec>,
}

#[derive(Clone, PartialEq, Eq, Message, Deserialize)]
#[serde(default)]
struct CronJobSpec {
    #[prost(bool, optional, tag = "4")]
    suspend: Option<bool>,
}

impl CronJob {
    fn detail(self) -> Option<Detail> {
        let suspended = self.spec.and_then(|spec| spec.suspend).unwrap_or_default();
        (!suspended).then_some(Detail::ActiveCronJob)
    }
}

#[cfg(test)]
mod tests {
    use prost::encoding::{bool, bytes};

    use super::super::StoredValue;
    use super::*;

    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        bytes::encode(number, &content.to_vec(), &mut out);
        out
    }

    fn flag(number: u32) -> Vec<u8> {
        let mut out = Vec::new();
        bool::encode(number, &true, &mut out);
        out
    }

    /// An object whose second and third fields are spec and status.
    fn protobuf(api_version: &str, kind: &str, spec: &[u8], status: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        let object = [field(1, &field(1, b"x")), field(2, spec), field(3, status)].concat();
        [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &object)].concat()
    }

    fn detail(value: &[u8]) -> Detail {
        Detail::of(value, StoredValue::parse(value).object().unwrap())
    }

    fn json(api_version: &str, kind: &str, rest: &str) -> Detail {
        let metadata = r#""metadata":{"name":"x"}"#;
        detail(format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}",{metadata},{rest}}}"#).as_bytes())
    }

    #[test]
    fn where_pods_and_claims_are_bound() {
        let (pod, claim) = (Detail::Pod { node: "n1".into() }, Detail::Claim { volume: "pv-1".into() });
        assert_eq!(detail(&protobuf("v1", "Pod", &field(10, b"n1"), b"")), pod);
        assert_eq!(json("v1", "Pod", r#""spec":{"nodeName":"n1"}"#), pod);
        assert_eq!(detail(&protobuf("v1", "PersistentVolumeClaim", &field(3, b"pv-1"), b"")), claim);
        assert_eq!(json("v1", "PersistentVolumeClaim", r#""spec":{"volumeName":"pv-1"}"#), claim);
        for kind in ["Pod", "PersistentVolumeClaim", "ConfigMap"] {
            assert_eq!(detail(&protobuf("v1", kind, b"", b"")), Detail::Nothing);
        }
        // Somebody else's kind of the same name.
        assert_eq!(json("example.com/v1", "Pod", r#""spec":{"nodeName":"n1"}"#), Detail::Nothing);
    }

    #[test]
    fn which_jobs_would_run() {
        let condition = |name: &[u8], status: &[u8]| field(1, &[field(1, name), field(2, status)].concat());
        let job = |spec: &[u8], status: &[u8]| detail(&protobuf("batch/v1", "Job", spec, status));
        assert_eq!(job(b"", b""), Detail::ActiveJob);
        assert_eq!(job(b"", &condition(b"Failed", b"False")), Detail::ActiveJob);
        assert_eq!(job(b"", &condition(b"Complete", b"True")), Detail::Nothing);
        assert_eq!(job(b"", &condition(b"Failed", b"True")), Detail::Nothing);
        assert_eq!(job(&flag(10), b""), Detail::Nothing);
        let done = r#""status":{"conditions":[{"type":"Complete","status":"True"}]}"#;
        assert_eq!(json("batch/v1", "Job", done), Detail::Nothing);
        assert_eq!(json("batch/v1", "Job", r#""status":{"active":1}"#), Detail::ActiveJob);
        assert_eq!(detail(&protobuf("batch/v1", "CronJob", b"", b"")), Detail::ActiveCronJob);
        assert_eq!(detail(&protobuf("batch/v1", "CronJob", &flag(4), b"")), Detail::Nothing);
    }
}
