{{/* The pod of a Deployment or StatefulSet. */}}

{{- define "loraplex.podTemplate" -}}
metadata:
  labels:
    {{- include "loraplex.selector" . | nindent 4 }}
    app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # A change rolls the pods: settings and keys are read at start.
    checksum/settings: {{ include "loraplex.settings" . | sha256sum }}
    {{- with include "loraplex.secretData" . }}
    checksum/secret: {{ . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "loraplex.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Variables for every Service of the namespace help nobody here.
  enableServiceLinks: false
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  terminationGracePeriodSeconds: {{ include "loraplex.gracePeriod" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "loraplex.container" . | nindent 6 | trim }}
    {{- with .Values.sidecars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "loraplex.volumes" . | nindent 4 }}
  {{- include "loraplex.placement" . | nindent 2 }}
{{- end -}}

{{/* The sum that leaves nobody's answer cut off by the kubelet. */}}
{{- define "loraplex.gracePeriod" -}}
{{- with .Values.shutdown }}{{ add .preStopSeconds (ceil .delaySeconds) (ceil .timeoutSeconds) .marginSeconds }}{{ end -}}
{{- end -}}

{{- define "loraplex.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := .Values.tolerations }}
{{- if .Values.gpu.enabled }}
{{- $tolerations = concat $tolerations .Values.gpu.tolerations }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpread.topologyKeys }}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ . }}
    maxSkew: {{ $.Values.topologySpread.maxSkew }}
    whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "loraplex.selector" $ | nindent 8 }}
    {{- if eq $.Values.kind "Deployment" }}
    # Pods of the revision that goes do not count.
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}
{{- end -}}
