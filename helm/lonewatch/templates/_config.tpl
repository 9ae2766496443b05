{{/*
lonewatch.toml of a role: only what that role reads, so that a new feed restarts no detector. Takes a dict of `root` and `role`.
Names of ingester and detector are absent: each pod sets its own by environment. A JSON text is a TOML text, so toJson quotes.
*/}}
{{- define "lonewatch.toml" -}}
{{- $values := .root.Values -}}
[kafka]
brokers = {{ $values.kafka.brokers | toJson }}
prefix = {{ $values.kafka.prefix | toJson }}
partitions = {{ int $values.kafka.partitions }}
{{- if $values.kafka.passwordSecret.name }}
password_file = "/etc/lonewatch/secrets/kafka/password"
{{- end }}
{{- with $values.kafka.options }}

[kafka.options]
{{- range $property, $value := . }}
{{ $property | toJson }} = {{ $value | toJson }}
{{- end }}
{{- end }}

[admin]
listen = "0.0.0.0:9464"

[log]
format = {{ $values.log.format | toJson }}
level = {{ $values.log.level | toJson }}
{{- if ne .role "detect" }}
{{- range $values.ingest.feeds }}

[[ingest.feeds]]
name = {{ .name | toJson }}
url = {{ .url | toJson }}
{{- with .username }}
username = {{ . | toJson }}
{{- end }}
{{- if .passwordSecret }}
password_file = {{ printf "/etc/lonewatch/secrets/mqtt/%s/password" .name | toJson }}
{{- end }}
{{- with .identity }}
identity = {{ . | toJson }}
{{- end }}
{{- range .sources }}

[[ingest.feeds.sources]]
lane = {{ .lane | toJson }}
filter = {{ .filter | toJson }}
{{- with .decoder }}
decoder = {{ . | toJson }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (ne .role "ingest") $values.detect.group }}

[detect]
group = {{ $values.detect.group | toJson }}
{{- end }}
{{- end -}}

{{/* The Secrets of a role as sources of one projected volume, as a JSON list; their paths are those in lonewatch.toml. */}}
{{- define "lonewatch.secrets" -}}
{{- $sources := list -}}
{{- with .root.Values.kafka.passwordSecret -}}
{{- $item := dict "key" .key "path" "kafka/password" -}}
{{- $sources = append $sources (dict "secret" (dict "name" .name "items" (list $item))) -}}
{{- end -}}
{{- if ne .role "detect" -}}
{{- range .root.Values.ingest.feeds -}}
{{- if .passwordSecret -}}
{{- $item := dict "key" .passwordSecret.key "path" (printf "mqtt/%s/password" .name) -}}
{{- $sources = append $sources (dict "secret" (dict "name" .passwordSecret.name "items" (list $item))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $sources | toJson -}}
{{- end -}}

{{/* Ports of the Kafka brokers, and of the MQTT brokers, as JSON lists of numbers. Take the root. */}}
{{- define "lonewatch.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.kafka.brokers -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) -}}
{{- end -}}
{{- range .Values.networkPolicy.kafkaPorts -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{- define "lonewatch.mqttPorts" -}}
{{- $ports := list -}}
{{- range .Values.ingest.feeds -}}
{{- $ports = append $ports (regexFind ":[0-9]+/?$" .url | trimPrefix ":" | trimSuffix "/" | default "1883" | int) -}}
{{- end -}}
{{- range .Values.networkPolicy.mqttPorts -}}{{- $ports = append $ports (int .) -}}{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
