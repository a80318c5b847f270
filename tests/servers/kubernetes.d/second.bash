# A second node in the namespaces of the first: the same addresses, kernel and images, but a Node object, a kubelet and a containerd of its
# own. Stopping its kubelet makes a node that is gone for the API server while its pods run on. Sourced by `kubernetes`.
# shellcheck shell=bash disable=SC2154

join() { # NAME
  local second=$1
  [[ $second =~ ^[a-z][-a-z0-9]*$ && $second != "$node_name" ]] || die "not a name for a second node: $second"
  [[ ! -e $cluster/node/kubelet-$second.pid ]] || die "$second has joined already"
  issue "kubelet-$second" "/O=system:nodes/CN=system:node:$second" "DNS:$second,IP:$node_address"
  write_kubeconfig "kubelet-$second"
  mkdir -p "$cluster/node/$second"/{containerd,kubelet,pods}
  make_cgroups "$node_cgroup/$second"
  write_second "$second"
  WEIR_CLUSTER=$cluster inside "$here/kubernetes.d/second" "$second"
}

write_second() { # NAME
  sed -e "s|^version = 2|version = 2\nroot = \"$cluster/node/$1/containerd\"\nstate = \"/run/containerd-$1\"\n[grpc]\n  address = \"/run/containerd-$1/containerd.sock\"|" \
    "$configs/containerd.toml" >"$configs/containerd-$1.toml"
  sed -e "s|^containerRuntimeEndpoint: .*|containerRuntimeEndpoint: unix:///run/containerd-$1/containerd.sock|" \
    -e "s|^cgroupRoot: .*|cgroupRoot: /$node_cgroup/$1|" -e "s|/kubelet\.|/kubelet-$1.|" "$configs/kubelet.yaml" >"$configs/kubelet-$1.yaml"
  printf 'port: 10260\nhealthzPort: 10261\npodLogsDir: %s\n' "$cluster/node/$1/pods" >>"$configs/kubelet-$1.yaml"
}

leave() { # NAME
  local second=$1 what file
  for what in kubelet containerd; do
    file=$cluster/node/$what-$second.pid
    [[ ! -e $file ]] || inside kill -KILL "$(<"$file")" 2>/dev/null || true
    rm -f "$file"
  done
  # With containerd killed nobody else ends its shims; the pods are known by their control groups.
  inside pkill -KILL -f -- "-address /run/containerd-$second/containerd.sock" || true
  remove_cgroups "$node_cgroup/$second"
  KUBECONFIG=$cluster/admin.kubeconfig "$(tool kubectl)" delete node "$second" --ignore-not-found
  # shellcheck disable=SC2016
  inside sh -c 'grep -F " $1/" /proc/self/mountinfo | cut -d" " -f5 | sort -r | xargs -r -n 1 umount -l' leave "$cluster/node/$second"
  rm -rf "$cluster/node/$second"
}
