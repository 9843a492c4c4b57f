{{- define "finetune-operator.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "finetune-operator.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "finetune-operator.labels" -}}
{{ include "finetune-operator.selector" . }}
{{ include "finetune-operator.common-labels" . }}
{{- end }}

{{- /* Of what the operator's Service and Deployment must not select too. */ -}}
{{- define "finetune-operator.common-labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* An image's reference; arguments: the chart's scope, and the image. */ -}}
{{- define "finetune-operator.image" -}}
{{- $scope := index . 0 }}{{ $image := index . 1 }}
{{- with $scope.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default $scope.Chart.AppVersion $image.tag }}{{ end }}
{{- end }}

{{- define "finetune-operator.pod-security" -}}
runAsNonRoot: true
{{- if .Values.fixedUser }}
runAsUser: 65532
runAsGroup: 65532
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "finetune-operator.container-security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* A setting as the operator reads it: lists and maps with commas between. */ -}}
{{- define "finetune-operator.text" -}}
{{- if kindIs "slice" . }}{{ join "," . }}
{{- else if kindIs "map" . }}{{ $pairs := list }}{{ range $name, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $name $value) }}{{ end }}{{ join "," $pairs }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{- /* What the operator may do in every namespace that it serves. No rights on Secrets, no exec, no wildcard: it passes
names on and never reads what they name. */ -}}
{{- define "finetune-operator.rules" -}}
# To patch the object itself is for one finalizer, on jobs that ask for the deletion of their output.
- apiGroups: [finetune.dev]
  resources: [finetunejobs]
  verbs: [get, list, watch, patch]
- apiGroups: [finetune.dev]
  resources: [finetunejobs/status]
  verbs: [patch]
# Owner references with blockOwnerDeletion need this where OwnerReferencesPermissionEnforcement is on.
- apiGroups: [finetune.dev]
  resources: [finetunejobs/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# In front of the pods of a job of several nodes.
- apiGroups: [""]
  resources: [services]
  verbs: [get, create]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- if .Values.kueue.enabled }}
- apiGroups: [kueue.x-k8s.io]
  resources: [workloads]
  verbs: [list, watch, patch]
- apiGroups: [visibility.kueue.x-k8s.io]
  resources: [localqueues/pendingworkloads]
  verbs: [get]
{{- end }}
{{- end }}

{{- /* Who is bound to which role; arguments: the chart's scope, the role's kind, and how its name ends. */ -}}
{{- define "finetune-operator.binding" }}
{{- $scope := index . 0 }}
{{- $name := include "finetune-operator.name" $scope }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ index . 1 }}
  name: {{ $name }}{{ index . 2 }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $scope.Release.Namespace }}
{{- end }}

{{- /* Labels of what Prometheus' and Grafana's own controllers select; arguments: the chart's scope, and more labels. */ -}}
{{- define "finetune-operator.monitor-labels" -}}
{{ include "finetune-operator.labels" (index . 0) }}
{{- with index . 1 }}
{{ toYaml . }}
{{- end }}
{{- end }}
