{{- /* The head of a policy. Refusals are Forbidden (403) and not Invalid (422): the request is well formed, it is not
       this user's to make. */}}
{{- define "ampacity.policy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- include "ampacity.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  {{- with .param }}
  paramRef: {{- toYaml . | nindent 4 }}
  {{- end }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels:
    {{- include "ampacity.labels" .root | nindent 4 }}
{{- end }}

{{- /* Who asks, as CEL. */}}
{{- define "ampacity.isOperator" -}}
request.userInfo.username == '{{ include "ampacity.operatorAccount" . }}'
{{- end }}
{{- define "ampacity.isBreakGlass" -}}
'{{ .Values.policies.breakGlassGroup }}' in request.userInfo.groups
{{- end }}
{{- define "ampacity.isSystem" -}}
request.userInfo.groups.exists(g, g in {{ include "ampacity.celList" .Values.policies.systemGroups }})
{{- end }}
{{- define "ampacity.isPodMaker" -}}
request.userInfo.username in {{ include "ampacity.celList" .Values.policies.podMakers }}
{{- end }}
{{- define "ampacity.celList" -}}
[{{ range $i, $one := . }}{{ if $i }}, {{ end }}'{{ $one }}'{{ end }}]
{{- end }}
