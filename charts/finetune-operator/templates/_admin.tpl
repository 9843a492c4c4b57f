{{- /* The admin settings as the operator reads them. */ -}}
{{- define "finetune-operator.admin" -}}
{{- if and .Values.admin.defaults.queue (not .Values.kueue.enabled) }}
{{- fail "admin.defaults.queue names a queue of Kueue's: set kueue.enabled too" }}
{{- end }}
{{- .Values.admin | toJson }}
{{- end }}
