{{- /* What values.schema.json cannot say in words: values that contradict each other, and common slips. */ -}}
{{- define "finetune-operator.validate" -}}
{{- if and .Values.preflight.queue (not .Values.kueue.enabled) }}
{{- fail (printf "preflight.queue (%s) names a queue of Kueue's, and kueue.enabled is false: set it to true, or clear preflight.queue" .Values.preflight.queue) }}
{{- end }}
{{- if contains "://" .Values.imageRegistry }}
{{- fail (printf "imageRegistry (%s) is a host, and a path in it where there is one: leave out the https://" .Values.imageRegistry) }}
{{- end }}
{{- range $name, $image := dict "image" .Values.image "trainer.image" .Values.trainer.image }}
{{- if regexMatch "(@.*|:[^/]*)$" $image.repository }}
{{- fail (printf "%s.repository (%s) holds a tag or digest: put it into %s.tag or %s.digest" $name $image.repository $name $name) }}
{{- end }}
{{- end }}
{{- range $name, $proxy := .Values.proxy }}
{{- if and (contains "@" $proxy) (ne $name "noProxy") }}
{{- fail (printf "proxy.%s holds a user or password, which every pod would show: use a proxy that asks for none" $name) }}
{{- end }}
{{- end }}
{{- range $name, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "trainer.podLabels" .Values.trainer.podLabels }}
{{- range $label, $_ := $labels }}
{{- if regexMatch "^(app\\.kubernetes\\.io|helm\\.sh|finetune\\.dev)/" $label }}
{{- fail (printf "%s: the label %s is the chart's or the operator's own" $name $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
