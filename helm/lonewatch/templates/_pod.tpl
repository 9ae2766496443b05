{{/* The pod of a role, and its container. Both take a dict of `root` and `role`. */}}

{{- define "lonewatch.pod" -}}
{{- $pods := .root.Values.pods -}}
{{- $settings := index .root.Values .role -}}
serviceAccountName: {{ include "lonewatch.fullname" .root }}
automountServiceAccountToken: false
# Else the names of all Services of the namespace become environment variables.
enableServiceLinks: false
# What an end takes at most: DRAIN_MILLIS for a lane, the same for the detector, and the goodbyes (src/limits.rs).
terminationGracePeriodSeconds: 30
{{- with $pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $pods.runAsUser }}
  runAsUser: {{ int . }}
  runAsGroup: {{ int . }}
  # Files of Secrets belong to root and this group.
  fsGroup: {{ int . }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with $pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if ne .role "run" }}
affinity:
  podAntiAffinity:
    {{- if eq $settings.antiAffinity "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "lonewatch.selector" . | nindent 12 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "lonewatch.selector" . | nindent 14 }}
    {{- end }}
topologySpreadConstraints:
  # Where there are zones, over zones; a cluster of one zone starts all the same.
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "lonewatch.selector" . | nindent 8 }}
{{- end }}
containers:
  - {{ include "lonewatch.container" . | nindent 4 | trim }}
volumes:
  - name: config
    configMap:
      name: {{ include "lonewatch.name" . }}
  {{- with include "lonewatch.secrets" . | fromJsonArray }}
  - name: secrets
    projected:
      defaultMode: 0440
      sources: {{- toYaml . | nindent 8 }}
  {{- end }}
{{- end -}}

{{- define "lonewatch.container" -}}
{{- $image := .root.Values.image -}}
{{- $settings := index .root.Values .role -}}
name: lonewatch
{{- if $image.digest }}
image: "{{ $image.repository }}@{{ $image.digest }}"
{{- else }}
image: "{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}"
{{- end }}
imagePullPolicy: {{ $image.pullPolicy }}
args: [{{ .role }}]
env:
  - name: LONEWATCH_CONFIG
    value: /etc/lonewatch/config/lonewatch.toml
  {{- if ne .role "detect" }}
  # The stable name of the pod: its MQTT sessions outlive it and are found again under it.
  - name: LONEWATCH__INGEST__NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
  {{- if ne .role "ingest" }}
  # Static membership: Kafka knows the detector again after a restart.
  - name: LONEWATCH__DETECT__NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
ports:
  - name: metrics
    containerPort: 9464
# The door opens as soon as the configuration is read; waiting for Kafka, and replay, are no reason to be killed.
startupProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 2
  failureThreshold: 30
# Whether the process answers at all. It looks at no broker: a restart mends none.
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
# No traffic hangs on it. It tells people why, and holds a roll-out up where the new pod does not do its work.
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: 2
resources: {{- toYaml $settings.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  - name: config
    mountPath: /etc/lonewatch/config
    readOnly: true
  {{- if include "lonewatch.secrets" . | fromJsonArray }}
  - name: secrets
    mountPath: /etc/lonewatch/secrets
    readOnly: true
  {{- end }}
{{- end -}}
