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
What the operator may do wherever StreamJobs are. No Secret can be read there: certificates are created under a new name and are
collected with their owner.
*/}}
{{- define "weir.jobRules" -}}
- apiGroups: [weir.dev]
  resources: [streamjobs]
  verbs: [get, list, watch, patch]
- apiGroups: [weir.dev]
  resources: [streamjobs/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
