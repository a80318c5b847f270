# Making the node and taking it away. Sourced by `kubernetes`.
#
# The node is one process tree in mount, network and process namespaces of its own. What may outlive such a tree is listed in
# `down`: control groups, a few kernel settings that the kubelet insists on, and the files.
# shellcheck shell=bash disable=SC2154

# The kubelet sets these for the whole machine; `down` sets them back.
kernel_settings=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

up() {
  needs_of_a_node
  if node_pid >/dev/null; then die "a cluster is up already, in $cluster"; fi
  down quietly
  trap 'status=$?; printf "kubernetes: the cluster did not come up; the logs are in %s\n" "$logs" >&2; down quietly; exit "$status"' EXIT
  trap 'exit 130' INT TERM HUP
  rm -rf "$logs"
  mkdir -p "$cluster/node" "$logs"
  chmod 755 "$cluster"
  printf '%s' "${WEIR_TEST_RUN:-}" >"$cluster/run"   # whose it is, for `down-if`
  save_kernel_settings
  make_cgroups "$node_cgroup"
  write_certificates
  write_configs
  start_namespaces
  await_ready
  trap - EXIT INT TERM HUP
  printf 'export KUBECONFIG=%s/admin.kubeconfig\n' "$cluster"
}

# What cannot be had on every machine, said before anything is changed.
needs_of_a_node() {
  local missing
  for missing in containerd runc iptables conntrack openssl nsenter unshare; do
    command -v "$missing" >/dev/null 2>&1 || die "there is no $missing: run \`$0 install\` first"
  done
  everything_built || die "is not built yet: run \`$0 install\` first"
  [[ -x $("$here/minio" path) ]] || die "MinIO is not built yet: run \`$here/minio install\` first"
  # shellcheck disable=SC2016
  unshare --mount --net --pid --fork --mount-proc bash -c '
    set -e
    ip link add check-bridge type bridge && ip link add check-a type veth peer name check-b || exit 11
    iptables -t nat -L -n >/dev/null || exit 12
    mkdir -p "$0/check/lower" "$0/check/merged" && mount -t tmpfs tmpfs "$0/check" || exit 13
    mkdir "$0"/check/{lower,upper,work,merged}
    mount -t overlay overlay -o "lowerdir=$0/check/lower,upperdir=$0/check/upper,workdir=$0/check/work" "$0/check/merged" || exit 14
  ' "$cluster" >/dev/null 2>&1 || die "this kernel lacks $(lacking $?)"
  rm -rf "$cluster/check"
}

lacking() {
  case $1 in
    11) echo "bridges or veth pairs" ;;
    12) echo "iptables' nat table" ;;
    13) echo "tmpfs mounts" ;;
    14) echo "overlayfs" ;;
    *) echo "namespaces that root may make" ;;
  esac
}

# node_pid: the node's process 1, as this machine counts; fails if there is none.
node_pid() {
  local pid
  [[ -e $cluster/node.pid ]] || return 1
  pid=$(<"$cluster/node.pid")
  # A process number is used again some day: the environment tells whose it is.
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qxF "WEIR_CLUSTER_NODE=$cluster" || return 1
  printf '%s\n' "$pid"
}

start_namespaces() {
  local pid
  WEIR_CLUSTER_NODE=$cluster WEIR_CLUSTER=$cluster WEIR_TEST_RUN='' setsid nice -n 10 \
    unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$here/kubernetes.d/node" \
    >"$logs/node.log" 2>&1 </dev/null &
  local parent=$! tries=0
  until pid=$(pgrep -P "$parent" 2>/dev/null | head -n 1) && [[ -n $pid ]]; do
    ((++tries < 200)) || die "the node's namespaces were not made, see $logs/node.log"
    sleep 0.05
  done
  printf '%s\n' "$pid" >"$cluster/node.pid"
  until node_pid >/dev/null; do
    ((++tries < 200)) || die "the node did not start, see $logs/node.log"
    sleep 0.05
  done
  ip link add "$host_link" type veth peer name eth0 netns "$pid"
  ip addr add "$host_address/30" dev "$host_link"
  ip link set "$host_link" up
  ip route add "$pod_range" via "$node_address"
  ip route add "$service_range" via "$node_address"
}

await_ready() {
  until [[ -e $cluster/ready ]]; do
    node_pid >/dev/null || { tail -n 20 "$logs/node.log" >&2; die "the node ended, see $logs"; }
    sleep 0.1
  done
}

down() { # [quietly]
  local pid
  if pid=$(node_pid); then
    # With process 1 the kernel ends all others of the namespace, and with the last of them the namespaces go.
    kill -KILL "$pid" 2>/dev/null || true
    while [[ -e /proc/$pid ]]; do sleep 0.05; done
  fi
  ip link del "$host_link" 2>/dev/null || true
  remove_cgroups "$node_cgroup"
  restore_kernel_settings
  # Whatever of ours is mounted here and not in the namespaces would be a mistake; deleting through a mount would be a worse one.
  if grep -qF " $cluster/" /proc/self/mountinfo; then die "something is still mounted under $cluster"; fi
  rm -rf "$cluster/node" "$cluster/node.pid" "$cluster/ready" "$cluster/check" "$cluster/run" "$pki" "$configs" "$cluster/admin.kubeconfig"
  if [[ ${1:-} != quietly ]]; then printf 'kubernetes: down; the logs are in %s\n' "$logs" >&2; fi
}

cgroup_roots() { awk '$9 == "cgroup" || $8 == "cgroup" { print $5 } $9 == "cgroup2" || $8 == "cgroup2" { print $5 }' /proc/self/mountinfo | sort -u; }

# cgroup v1 has a hierarchy per controller and the kubelet wants its root in each; v2 has one.
make_cgroups() { # PATH
  local root
  while read -r root; do
    mkdir -p "$root/$1"
    # A v1 cpuset without processors and memory takes no process.
    if [[ -e $root/$1/cpuset.mems && -e $root/cpuset.mems ]]; then
      cat "$root/cpuset.cpus" >"$root/$1/cpuset.cpus"
      cat "$root/cpuset.mems" >"$root/$1/cpuset.mems"
    fi
  done < <(cgroup_roots)
}

remove_cgroups() { # PATH
  local root folder pid tries
  while read -r root; do
    [[ -d $root/$1 ]] || continue
    for ((tries = 0; tries < 100; tries++)); do
      while read -r folder; do
        while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$folder/cgroup.procs" || true
        rmdir "$folder" 2>/dev/null || true
      done < <(find "$root/$1" -depth -type d 2>/dev/null)
      [[ -d $root/$1 ]] || break
      sleep 0.05
    done
    [[ ! -d $root/$1 ]] || die "cannot remove $root/$1"
  done < <(cgroup_roots)
}

save_kernel_settings() {
  local setting
  for setting in "${kernel_settings[@]}"; do printf '%s %s\n' "$setting" "$(<"/proc/sys/$setting")"; done >"$cluster/kernel-settings"
}

restore_kernel_settings() {
  [[ -e $cluster/kernel-settings ]] || return 0
  local setting value
  while read -r setting value; do
    [[ $(<"/proc/sys/$setting") == "$value" ]] || printf '%s\n' "$value" >"/proc/sys/$setting"
  done <"$cluster/kernel-settings"
  rm -f "$cluster/kernel-settings"
}
