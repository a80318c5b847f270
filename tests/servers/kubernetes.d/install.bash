# Builds what a cluster consists of, each once, into ${XDG_CACHE_HOME:-~/.cache}/weir/servers/NAME-VERSION. Sourced by `kubernetes`.
# shellcheck shell=bash

kube_version=1.34.4       # 1.35 refuses cgroup v1, which a test machine may have
coredns_version=1.15.0
buildkit_version=0.23.2   # newer ones need a module that is not to be had
pause_version=1
debian=bookworm

components=(etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)
debian_packages=(containerd runc containernetworking-plugins iptables conntrack ethtool socat debootstrap openssl ca-certificates gcc libc6-dev)

# tool NAME: where the program is.
tool() {
  case $1 in
    coredns) printf '%s/coredns' "$(cached coredns "$coredns_version")" ;;
    helm) "$here/helm" path ;;
    buildctl | buildkitd) printf '%s/%s' "$(cached buildkit "$buildkit_version")" "$1" ;;
    *) printf '%s/%s' "$(cached kubernetes "$kube_version")" "$1" ;;
  esac
}

cached() { printf '%s/weir/servers/%s-v%s' "${XDG_CACHE_HOME:-$HOME/.cache}" "$1" "$2"; }

# built NAME VERSION BUILD…: runs BUILD… in an empty folder unless there is a result of it, and takes what it leaves in `out`.
built() {
  local what=$1 version=$2 target scratch
  shift 2
  target=$(cached "$what" "$version")
  [[ ! -d $target ]] || return 0
  mkdir -p "${target%/*}"
  # Two callers may ask at the same time: the second waits for the first one's build.
  exec {build_lock}>"$target.lock"
  flock "$build_lock"
  if [[ ! -d $target ]]; then
    printf '%s: building %s %s, once\n' "$name" "$what" "$version" >&2
    scratch=$(mktemp -d)
    mkdir "$scratch/out"
    # In the background, because a shell that is asked whether it succeeds goes on after its commands' failures.
    (cd "$scratch" && "$@") </dev/null >"$scratch/log" 2>&1 &
    if ! wait $!; then
      tail -n 40 "$scratch/log" >&2
      rm -rf "$scratch"
      die "the build of $what $version failed, see above"
    fi
    rm -rf "$target.part"
    mv "$scratch/out" "$target.part"   # across file systems this copies; the next one is what counts
    mv "$target.part" "$target"
    rm -rf "$scratch"
  fi
  exec {build_lock}>&-
}

install_cluster() {
  install_packages
  if ! everything_built; then find_go; fi
  built kubernetes "$kube_version" build_kubernetes
  built coredns "$coredns_version" build_module "github.com/coredns/coredns@v$coredns_version" github.com/coredns/coredns
  built pause "$pause_version" build_pause
}

install_buildkit() {
  [[ -d $(cached buildkit "$buildkit_version") ]] || find_go
  built buildkit "$buildkit_version" build_module "github.com/moby/buildkit@v$buildkit_version" \
    github.com/moby/buildkit/cmd/buildkitd github.com/moby/buildkit/cmd/buildctl
}

everything_built() {
  [[ -d $(cached kubernetes "$kube_version") && -d $(cached coredns "$coredns_version") &&
    -d $(cached pause "$pause_version") ]]
}

install_packages() {
  local package missing=()
  for package in "${debian_packages[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  command -v apt-get >/dev/null 2>&1 || die "missing on this machine: ${missing[*]} (Debian's names)"
  printf '%s: apt-get install %s\n' "$name" "${missing[*]}" >&2
  local sudo=()
  if ((EUID != 0)); then sudo=(sudo -n); fi
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)
  "${apt[@]}" update </dev/null >&2 || true
  # Debian's containerd may be started by its package; ours is a process of our own, with its own folders and socket.
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >&2 || die "apt-get install failed: ${missing[*]}"
}

# become_root COMMAND…: calls this script again as root, unless it runs as root.
become_root() {
  ((EUID != 0)) || return 0
  command -v sudo >/dev/null 2>&1 || die "\`$1\` needs root and there is no sudo"
  sudo -n true 2>/dev/null || die "\`$1\` needs root"
  exec sudo -n --preserve-env=HOME,XDG_CACHE_HOME,WEIR_CLUSTER,WEIR_TEST_RUN,TMPDIR "$0" "$@"
}

go_build() { CGO_ENABLED=0 nice -n 10 go build -trimpath "$@"; }

# A module's own go.mod replaces its staging modules by folders, which do not exist for whoever requires it: here each is
# replaced by its release of the same version.
build_kubernetes() {
  local module k8s=v$kube_version staging=v0.${kube_version#*.}
  cp "$here/kubernetes.d/kube.go" main.go
  go mod init weir-test-kubernetes
  go mod edit -require "k8s.io/kubernetes@$k8s"
  while read -r module; do go mod edit -replace "$module=$module@$staging"; done < <(
    cd / && sed -n 's|^\t*\(k8s.io/[a-z-]*\) => ./staging/.*|\1|p' "$(go mod download -json "k8s.io/kubernetes@$k8s" |
      sed -n 's/.*"GoMod": "\(.*\)",\{0,1\}$/\1/p')" | sort -u)
  go mod tidy
  go_build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$k8s" -o out/kube .
  for module in "${components[@]}"; do ln -s kube "out/$module"; done
}

build_module() { # MODULE@VERSION PACKAGE…
  local package module=$1
  shift
  go mod init weir-test-server
  # A module's replacements are not inherited; buildkit's client needs none of them.
  go get "$module" "${@/%/@v${module##*@v}}"
  for package in "$@"; do go_build -ldflags "-s -w" -o "out/${package##*/}" "$package"; done
}

# The image that every pod's sandbox runs, as an archive of one layer.
build_pause() {
  mkdir root layer
  gcc -static -Os -s -o root/pause "$here/kubernetes.d/pause.c"
  tar --owner=0 --group=0 --mtime=@0 -C root -cf layer/layer.tar pause
  local digest
  digest=$(sha256sum layer/layer.tar | cut -d' ' -f1)
  printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/pause"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$(dpkg --print-architecture)" "$digest" >layer/config.json
  printf '[{"Config":"config.json","RepoTags":["docker.io/local/pause:1"],"Layers":["layer.tar"]}]' >layer/manifest.json
  tar -C layer -cf out/pause.tar manifest.json config.json layer.tar
}
