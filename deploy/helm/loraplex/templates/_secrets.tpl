{{/* Keys and tokens. */}}

{{/* Whether one is given. Args: a dict of existingSecret, key, value. */}}
{{- define "loraplex.hasSecret" -}}
{{- if or .existingSecret .value }}true{{ end -}}
{{- end -}}

{{/* Whether asking takes a key. */}}
{{- define "loraplex.hasKeys" -}}
{{- with .Values -}}
{{- if or .auth.apiKey.existingSecret .auth.apiKey.value .tenants.existingSecret .tenants.keys }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* Whether /metrics takes an admin's key, now or once an admin has made a tenant's. */}}
{{- define "loraplex.hidesMetrics" -}}
{{- if and (not .Values.metrics.open) (or (include "loraplex.tenantsSecret" .) (include "loraplex.hasSecret" .Values.auth.adminKey)) }}true{{ end -}}
{{- end -}}

{{/* A variable whose value stands in a Secret. Args: list of root, the variable's name, the secret's values. */}}
{{- define "loraplex.secretVariable" -}}
{{- $root := index . 0 -}}
{{- $secret := index . 2 -}}
{{- if include "loraplex.hasSecret" $secret }}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.existingSecret | default (include "loraplex.fullname" $root) }}
      key: {{ $secret.key }}
{{- end -}}
{{- end -}}

{{- define "loraplex.tenantsSecret" -}}
{{- if .Values.tenants.existingSecret -}}
{{- .Values.tenants.existingSecret -}}
{{- else if .Values.tenants.keys -}}
{{- include "loraplex.fullname" . }}-tenants
{{- end -}}
{{- end -}}

{{/* Data of the Secret that the chart makes, if it needs one. */}}
{{- define "loraplex.secretData" -}}
{{- range list .Values.auth.apiKey .Values.auth.adminKey .Values.huggingFace -}}
{{- if and .value (not .existingSecret) }}
{{ .key }}: {{ .value | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
