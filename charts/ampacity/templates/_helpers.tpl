{{- /* Names are fixed and not made of the release's: two operators in one cluster would both lead its sites, and a
       second release is refused by Helm because the first one owns the names. */}}

{{- define "ampacity.labels" -}}
app.kubernetes.io/name: ampacity
app.kubernetes.io/part-of: ampacity
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Of pods: no versions, so that an agent is replaced (and its ceiling void) only when what it runs has changed. */}}
{{- define "ampacity.podLabels" -}}
app.kubernetes.io/name: ampacity
app.kubernetes.io/part-of: ampacity
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "ampacity.selector" -}}
app.kubernetes.io/name: ampacity
{{- end }}

{{- define "ampacity.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "ampacity.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ampacity.priorityClass" -}}
{{- if .Values.highAvailability }}
priorityClassName: ampacity-critical
{{- end }}
{{- end }}

{{- /* The number that distroless images call nonroot. */}}
{{- define "ampacity.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "ampacity.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "ampacity.podEnv" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- end }}

{{- define "ampacity.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 5
  timeoutSeconds: 2
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 2
{{- end }}

{{- define "ampacity.operatorAccount" -}}
system:serviceaccount:{{ .Release.Namespace }}:ampacity-operator
{{- end }}

{{- define "ampacity.minerAccount" -}}
system:serviceaccount:{{ .Release.Namespace }}:ampacity-miner-agent
{{- end }}

{{- define "ampacity.gpuAccount" -}}
system:serviceaccount:{{ .Release.Namespace }}:ampacity-gpu-agent
{{- end }}
