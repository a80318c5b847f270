# What the server scripts of this folder share. A script sets name, version, module and package, defines `serve DIR PORT`, and calls `main "$@"`.
# shellcheck shell=bash disable=SC2154

die() { printf '%s: %s\n' "$name" "$*" >&2; exit 1; }

folder() { printf '%s/weir/servers/%s-%s' "${XDG_CACHE_HOME:-$HOME/.cache}" "$name" "$version"; }

binary() { printf '%s/%s' "$(folder)" "$name"; }

find_go() {
  if ! command -v go >/dev/null 2>&1 && [ -x /usr/local/go/bin/go ]; then PATH=$PATH:/usr/local/go/bin; fi
  command -v go >/dev/null 2>&1 ||
    die "needs Go 1.21 or newer to build $module@$version, and there is no \`go\`: install Debian's golang-go from bookworm-backports (or any Go release) and try again"
  # An older Go fetches the toolchain that the module asks for as a Go module; before 1.21 it cannot.
  local found
  found=$(go env GOVERSION); found=${found#go}
  printf '1.21\n%s\n' "$found" | sort -V -C ||
    die "needs Go 1.21 or newer to build $module@$version, found $found: install Debian's golang-go from bookworm-backports (or any Go release) and try again"
}

install_server() {
  if [ -x "$(binary)" ]; then return; fi
  mkdir -p "$(folder)"
  # Two test processes may ask at the same time: the second waits for the first one's build.
  exec 9>"$(folder)/lock"
  flock 9
  if [ -x "$(binary)" ]; then return; fi
  find_go
  printf '%s: building %s@%s, once\n' "$name" "$module" "$version" >&2
  local build
  build=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$build'" EXIT
  (
    cd "$build"
    go mod init weir-test-server >/dev/null 2>&1
    go get "$package@$version"
    CGO_ENABLED=0 nice -n 10 go build -trimpath -ldflags "-s -w" -o "$build/server" "$package"
  ) >&2 || die "the build of $module@$version failed, see above"
  mv "$build/server" "$(binary).part"
  mv "$(binary).part" "$(binary)"
}

# Runs the server in the foreground. With WEIR_DISPOSABLE set, the server also stops when standard input ends, and its folder is
# removed at the end, so that a test process that is killed leaves nothing behind.
run() { # DIR COMMAND...
  local folder=$1
  shift
  if [ -z "${WEIR_DISPOSABLE:-}" ]; then exec "$@"; fi
  exec 3<&0
  "$@" 3<&- </dev/null &
  local server=$!
  cat <&3 >/dev/null &
  local watch=$!
  # shellcheck disable=SC2064
  trap "kill -KILL $server $watch 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf '$folder'" EXIT
  trap 'exit 143' TERM INT HUP
  local status=0
  wait -n "$server" "$watch" || status=$?
  exit "$status"
}

main() {
  case "${1:-}" in
    install) install_server ;;
    path) binary; echo ;;
    start)
      [ $# -eq 3 ] || die "usage: $name start DIR PORT"
      [ -x "$(binary)" ] || die "is not built yet: run \`$0 install\` first"
      mkdir -p "$2"
      serve "$2" "$3"
      ;;
    *) die "usage: $name install | start DIR PORT | path" ;;
  esac
}
