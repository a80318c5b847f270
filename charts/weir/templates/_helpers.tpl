{{/* Names, labels and images that several templates share. */}}

{{- define "weir.fullname" -}}
{{- if contains "weir" .Release.Name -}}
{{ printf "%s-operator" (.Release.Name | trunc 40 | trimSuffix "-") }}
{{- else -}}
{{ printf "%s-weir-operator" (.Release.Name | trunc 40 | trimSuffix "-") }}
{{- end -}}
{{- end -}}

{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: weir-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "weir.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "weir.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{- define "weir.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Where the runtime pods are, for monitors. */}}
{{- define "weir.jobsNamespaceSelector" -}}
{{- if .Values.watchNamespace -}}
matchNames: [{{ .Values.watchNamespace }}]
{{- else -}}
any: true
{{- end -}}
{{- end -}}

{{/*
What the operator may do wherever StreamJobs are: operator/src/permissions.rs, held by a test. No Secret can be read there: certificates are
created under new names and are collected with their owner.
*/}}
{{- define "weir.jobRules" -}}
- apiGroups: [weir.dev]
  resources: [streamjobs]
  verbs: [list, patch, watch]
- apiGroups: [weir.dev]
  resources: [streamjobs/status]
  verbs: [patch]
# Where owner references are checked: owning objects on the job's behalf.
- apiGroups: [weir.dev]
  resources: [streamjobs/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [create, get, list, patch, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, get, list, patch, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, get, list, patch, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, get, list, patch, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, delete, get, list, watch]
- apiGroups: [""]
  resources: [pods]
  verbs: [create, delete, list, watch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
# Whether a service account is labelled for jobs.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get]
# Why no pod could be created: quota, limits, admission.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{/* What it may do with the cluster itself. An operator of one namespace does without. */}}
{{- define "weir.clusterRules" -}}
# Whether the node of a silent pod is gone.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
# Whether a job goes because its namespace does.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
{{- end -}}
