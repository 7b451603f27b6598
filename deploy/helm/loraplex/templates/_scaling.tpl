{{/* How many replicas there may be, and how fast their number changes. */}}

{{/* The fewest replicas that there can be. */}}
{{- define "loraplex.leastReplicas" -}}
{{- ternary .Values.replicas .Values.autoscaling.minReplicas (eq .Values.autoscaling.type "none") -}}
{{- end -}}

{{- define "loraplex.mostReplicas" -}}
{{- ternary .Values.replicas .Values.autoscaling.maxReplicas (eq .Values.autoscaling.type "none") -}}
{{- end -}}

{{/* Up at once, down slowly: a replica takes long to start. */}}
{{- define "loraplex.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - type: Percent
      value: 100
      periodSeconds: 60
    - type: Pods
      value: 2
      periodSeconds: 60
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .Values.autoscaling.scaleDownSeconds }}
  policies:
    - type: Pods
      value: 1
      periodSeconds: 60
{{- end -}}
