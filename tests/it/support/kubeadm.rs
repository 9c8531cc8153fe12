//! The `ClusterConfiguration` that kubeadm leaves in its ConfigMap, in each shape that says where etcd is.

/// An etcd outside of kubeadm's care: the file lists its endpoints.
pub fn external(endpoints: &[String]) -> String {
    let list = endpoints.join("\n    - ");
    configuration(
        "v1beta3",
        &format!(
            "etcd:
  external:
    caFile: /etc/etcd/pki/etcd/ca.crt
    certFile: /etc/etcd/pki/apiserver-etcd-client.crt
    keyFile: /etc/etcd/pki/apiserver-etcd-client.key
    endpoints:
    - {list}
"
        ),
    )
}

/// kubeadm's own etcd, with the client URLs as a map of extra arguments (up to v1beta3).
pub fn stacked_map(client_urls: &str) -> String {
    configuration(
        "v1beta3",
        &format!(
            "etcd:
  local:
    dataDir: /var/lib/etcd
    extraArgs:
      listen-client-urls: {client_urls}
      listen-metrics-urls: http://0.0.0.0:2381
"
        ),
    )
}

/// The same as a list of names and values (from v1beta4).
pub fn stacked_list(client_urls: &str) -> String {
    configuration(
        "v1beta4",
        &format!(
            "etcd:
  local:
    dataDir: /var/lib/etcd
    extraArgs:
      - name: listen-metrics-urls
        value: http://0.0.0.0:2381
      - name: listen-client-urls
        value: {client_urls}
"
        ),
    )
}

fn configuration(version: &str, etcd: &str) -> String {
    format!(
        "apiServer:
  timeoutForControlPlane: 4m0s
apiVersion: kubeadm.k8s.io/{version}
certificatesDir: /etc/kubernetes/pki
clusterName: kubernetes
controlPlaneEndpoint: control-plane.example:6443
{etcd}imageRepository: images.example
kind: ClusterConfiguration
kubernetesVersion: v1.29.3
networking:
  dnsDomain: cluster.local
  podSubnet: 172.16.0.0/16
  serviceSubnet: 10.96.0.0/12
"
    )
}
