# The cluster's own certificate authority, what it issues, and who talks to the API server with it. Sourced by `kubernetes`.
# shellcheck shell=bash disable=SC2154

write_certificates() {
  mkdir -p "$pki"
  chmod 700 "$pki"
  local names
  key ca
  openssl req -x509 -new -key "$pki/ca.key" -subj /CN=weir-test-cluster -days 3650 -out "$pki/ca.crt" 2>/dev/null
  key service-accounts
  openssl pkey -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub"
  names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local
  issue apiserver /CN=kube-apiserver "$names,IP:127.0.0.1,IP:$node_address,IP:$kubernetes_service"
  issue kubelet "/O=system:nodes/CN=system:node:$node_name" "DNS:$node_name,IP:$node_address"
  issue admin /O=system:masters/CN=admin
  issue kubelet-client /O=system:masters/CN=kube-apiserver
  issue controllers /CN=system:kube-controller-manager
  issue scheduler /CN=system:kube-scheduler
  issue proxy /CN=system:kube-proxy
  issue coredns /CN=system:coredns
  local who
  for who in admin controllers scheduler proxy coredns kubelet; do write_kubeconfig "$who"; done
  install -m 600 "$pki/admin.kubeconfig" "$cluster/admin.kubeconfig"
}

key() { openssl ecparam -name prime256v1 -genkey -noout 2>/dev/null | openssl pkcs8 -topk8 -nocrypt -out "$pki/$1.key"; }

issue() { # NAME SUBJECT [ALTERNATIVE-NAMES]
  local what=$1 subject=$2 extensions=$'keyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n'
  if [[ -n ${3:-} ]]; then extensions+="subjectAltName=$3"$'\n'; fi
  key "$what"
  openssl req -new -key "$pki/$what.key" -subj "$subject" |
    openssl x509 -req -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 3650 -extfile <(printf '%s' "$extensions") \
      -out "$pki/$what.crt" 2>/dev/null
}

write_kubeconfig() { # NAME
  cat >"$pki/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: weir
  cluster: {server: "https://$node_address:${api_port:-6443}", certificate-authority-data: $(base64 -w0 "$pki/ca.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$pki/$1.crt"), client-key-data: $(base64 -w0 "$pki/$1.key")}
contexts:
- name: weir
  context: {cluster: weir, user: $1}
current-context: weir
YAML
}
