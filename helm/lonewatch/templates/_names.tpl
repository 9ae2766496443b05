{{/* What things are called, and which roles there are. */}}

{{/*
Pods' names are ingesters' and detectors' names, of which the program allows 48 bytes of a-z, 0-9, '_' and '-'. "-ingest-9" and
"-detect-99" take up to 10 of them. A longer name is refused, not cut: two cut names can be the same.
*/}}
{{- define "lonewatch.fullname" -}}
{{- $release := .Release.Name -}}
{{- $name := .Values.fullnameOverride | default (contains .Chart.Name $release | ternary $release (printf "%s-%s" $release .Chart.Name)) -}}
{{- if not (regexMatch "^[a-z]([a-z0-9-]{0,36}[a-z0-9])?$" $name) -}}
{{- fail (printf "%q cannot begin pods' names: 1 to 38 of a-z, 0-9 and '-', a letter first; set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* The roles of this release, as a JSON list. */}}
{{- define "lonewatch.roles" -}}
{{- $roles := list -}}
{{- if eq .Values.mode "run" -}}
{{- $roles = list "run" -}}
{{- else -}}
{{- if gt (int .Values.ingest.replicas) 0 -}}{{- $roles = append $roles "ingest" -}}{{- end -}}
{{- if gt (int .Values.detect.replicas) 0 -}}{{- $roles = append $roles "detect" -}}{{- end -}}
{{- if not $roles -}}{{- fail "ingest.replicas and detect.replicas are both 0: there is nothing to run" -}}{{- end -}}
{{- end -}}
{{- $roles | toJson -}}
{{- end -}}

{{/* The following take a dict of `root` and `role`. */}}

{{- define "lonewatch.name" -}}
{{ include "lonewatch.fullname" .root }}-{{ .role }}
{{- end -}}

{{- define "lonewatch.replicas" -}}
{{- if eq .role "run" -}}1{{- else -}}{{ int (index .root.Values .role).replicas }}{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release: selectors are made of it. */}}
{{- define "lonewatch.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "lonewatch.labels" -}}
{{ include "lonewatch.selector" . }}
app.kubernetes.io/part-of: lonewatch
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version | replace "+" "_" }}
{{- end -}}
