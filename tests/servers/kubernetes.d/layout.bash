# Where things are and which addresses they have. Sourced by `kubernetes` outside of the node and by `node` inside of it.
# shellcheck shell=bash disable=SC2034

cluster=${WEIR_CLUSTER:-/var/lib/weir-cluster}   # everything the cluster writes; WEIR_CLUSTER says where
logs=$cluster/logs
pki=$cluster/pki
configs=$cluster/config

node_name=node-1
host_link=weir-cluster          # this machine's end of the cable to the node
host_address=10.243.0.1
node_address=10.243.0.2
pod_range=10.244.0.0/24
service_range=10.96.0.0/16
kubernetes_service=10.96.0.1
dns_address=169.254.20.10
minio_port=9000
node_cgroup=weir-cluster        # under the root of every cgroup hierarchy

# What a person and the tests put into a StreamJob's Secret.
minio_user=weir
minio_password=weir-secret
