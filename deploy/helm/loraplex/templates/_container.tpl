{{/* The server's container. */}}

{{- define "loraplex.container" -}}
name: server
image: {{ include "loraplex.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args:
  - {{ ternary "demo" "serve" .Values.demo }}
  - --config
  - /etc/loraplex/settings/loraplex.yaml
  {{- range .Values.extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  {{- include "loraplex.environment" . | nindent 2 }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: http
    containerPort: 8000
    protocol: TCP
startupProbe:
  {{- include "loraplex.probe" (list . "/health" .Values.probes.startup) | nindent 2 }}
livenessProbe:
  {{- include "loraplex.probe" (list . "/health" .Values.probes.liveness) | nindent 2 }}
readinessProbe:
  {{- include "loraplex.probe" (list . "/ready" .Values.probes.readiness) | nindent 2 }}
{{- if gt (int .Values.shutdown.preStopSeconds) 0 }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.shutdown.preStopSeconds }}
{{- end }}
resources:
  {{- include "loraplex.resources" . | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  {{- include "loraplex.volumeMounts" . | nindent 2 }}
{{- end -}}

{{/* Caches that are no settings of ours: in /cache, since nothing else may be written. */}}
{{- define "loraplex.environment" -}}
# The image has this variable too, which wins over the settings file.
- name: LORAPLEX_HOST
  value: {{ .Values.host | quote }}
- name: HOME
  value: /cache
- name: HF_HOME
  value: /cache/huggingface
- name: XDG_CACHE_HOME
  value: /cache
- name: TRITON_CACHE_DIR
  value: /cache/triton
{{- include "loraplex.secretVariable" (list . "LORAPLEX_API_KEY" .Values.auth.apiKey) }}
{{- include "loraplex.secretVariable" (list . "LORAPLEX_ADMIN_KEY" .Values.auth.adminKey) }}
{{- include "loraplex.secretVariable" (list . "HF_TOKEN" .Values.huggingFace) }}
{{- if .Values.tracing.endpoint }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_SERVICE_NAME
  value: {{ include "loraplex.fullname" . }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Args: list of root, path, the probe's numbers. */}}
{{- define "loraplex.probe" -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  scheme: {{ include "loraplex.scheme" (index . 0) | upper }}
{{ toYaml (index . 2) }}
{{- end -}}

{{/* A GPU is asked for and limited alike. */}}
{{- define "loraplex.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if .Values.gpu.enabled -}}
{{- range list "requests" "limits" -}}
{{- $amounts := index $resources . | default dict -}}
{{- $_ := set $amounts $.Values.gpu.resourceName (toString $.Values.tensorParallelSize) -}}
{{- $_ := set $resources . $amounts -}}
{{- end -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}
