# The configuration files of the components. Sourced by `kubernetes`.
# shellcheck shell=bash disable=SC2154

write_configs() {
  mkdir -p "$configs/cni"
  write_containerd
  write_network
  write_apiserver
  write_kubelet
  write_proxy
  write_dns
  write_manifests
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE every sandbox fails otherwise.
write_containerd() {
  cat >"$configs/containerd.toml" <<'TOML'
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "docker.io/local/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
TOML
}

write_network() {
  cat >"$configs/cni/10-weir.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "weir", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pod_range"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
JSON
  printf '{"cniVersion": "0.4.0", "name": "lo", "type": "loopback"}\n' >"$configs/cni/99-loopback.conf"
}

# The audit log tells which granted rules are used: it records what service accounts do, but not the control plane's own.
write_apiserver() {
  cat >"$configs/audit.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
YAML
}

# Images cannot be pulled again, so none is ever collected; a disk that is nearly full must not evict what the tests watch.
write_kubelet() {
  cat >"$configs/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: AlwaysAllow}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
cgroupDriver: cgroupfs
cgroupRoot: /$node_cgroup
failSwapOn: false
failCgroupV1: false
clusterDNS: [$dns_address]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
nodeStatusUpdateFrequency: 5s
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
containerLogMaxSize: 1Gi
logging: {verbosity: 1}
YAML
}

write_proxy() {
  cat >"$configs/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
mode: iptables
clusterCIDR: $pod_range
hostnameOverride: $node_name
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
YAML
}

write_dns() {
  cat >"$configs/Corefile" <<CONF
.:53 {
  bind $dns_address
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $pki/coredns.kubeconfig
    pods disabled
    ttl 1
  }
}
CONF
}

# MinIO runs on the node, outside of any pod, and has a name in the cluster: http://minio.storage:9000.
write_manifests() {
  cat >"$configs/bootstrap.yaml" <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: coredns}
rules:
- {apiGroups: [""], resources: [services, pods, namespaces, endpoints], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: coredns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:coredns"}]
---
apiVersion: v1
kind: Namespace
metadata: {name: storage}
---
apiVersion: v1
kind: Service
metadata: {name: minio, namespace: storage}
spec: {ports: [{name: s3, port: $minio_port}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: minio, namespace: storage, labels: {kubernetes.io/service-name: minio}}
addressType: IPv4
ports: [{name: s3, port: $minio_port}]
endpoints: [{addresses: [$node_address]}]
YAML
}
