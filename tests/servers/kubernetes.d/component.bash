# Programs of a node, started and waited for. Sourced by `node` and `second`, which run in the node's namespaces.
# shellcheck shell=bash disable=SC2154

# component NAME COMMAND…: in the background, with its log and its process number (as the node counts) where `kubernetes` finds them.
component() {
  local what=$1
  shift
  setsid "$@" >>"$logs/$what.log" 2>&1 </dev/null &
  printf '%s\n' $! >"$cluster/node/$what.pid"
}

wait_for() { # WHAT COMMAND…: until COMMAND succeeds
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    ((++tries < 1200)) || die "$what is not ready after 60 s, see $logs"
    sleep 0.05
  done
}

kubectl() { KUBECONFIG=$pki/admin.kubeconfig "$(tool kubectl)" "$@"; }
