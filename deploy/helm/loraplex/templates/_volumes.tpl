{{/* Volumes of the pod, and where they are mounted. */}}

{{/* One of storage. Args: list of root, part. Claims of a StatefulSet's pods come by its templates. */}}
{{- define "loraplex.volume" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- $storage := index $root.Values.storage $part -}}
{{- if eq $storage.type "emptyDir" }}
- name: {{ $part }}
  emptyDir:
    sizeLimit: {{ $storage.size }}
{{- else if eq $storage.type "existingClaim" }}
- name: {{ $part }}
  persistentVolumeClaim:
    claimName: {{ $storage.name }}
    {{- if has $part (list "models" "adapters") }}
    readOnly: true
    {{- end }}
{{- else if eq $storage.type "image" }}
- name: {{ $part }}
  image:
    reference: {{ $storage.reference }}
    pullPolicy: {{ $storage.pullPolicy }}
{{- else if and (eq $storage.type "claim") (not (include "loraplex.isTemplated" .)) }}
- name: {{ $part }}
  persistentVolumeClaim:
    claimName: {{ include "loraplex.fullname" $root }}-{{ $part }}
{{- end -}}
{{- end -}}

{{/* Whether each pod has a claim of its own. Args: list of root, part. */}}
{{- define "loraplex.isTemplated" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- if and (eq $root.Values.kind "StatefulSet") (has $part (list "state" "cache")) (eq (index $root.Values.storage $part).type "claim") }}true{{ end -}}
{{- end -}}

{{/* What a claim asks for. Args: one of storage. */}}
{{- define "loraplex.claimSpec" -}}
accessModes: {{ toJson .accessModes }}
{{- with .storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}

{{- define "loraplex.volumes" -}}
- name: settings
  configMap:
    name: {{ include "loraplex.fullname" . }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.storage.tmp }}
- name: shared-memory
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.storage.sharedMemory }}
{{- range list "models" "adapters" "state" "cache" }}
{{- include "loraplex.volume" (list $ .) }}
{{- end }}
{{- with include "loraplex.tenantsSecret" . }}
- name: tenants
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "loraplex.volumeMounts" -}}
- name: settings
  mountPath: /etc/loraplex/settings
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: shared-memory
  mountPath: /dev/shm
- name: state
  mountPath: /state
- name: cache
  mountPath: /cache
{{- range list "models" "adapters" }}
{{- $storage := index $.Values.storage . }}
{{- if ne $storage.type "none" }}
- name: {{ . }}
  mountPath: /{{ . }}
  readOnly: true
  {{- with $storage.subPath }}
  subPath: {{ . }}
  {{- end }}
{{- end }}
{{- end }}
{{- if include "loraplex.tenantsSecret" . }}
- name: tenants
  mountPath: /etc/loraplex/tenants
  readOnly: true
{{- end }}
{{- if .Values.tls.existingSecret }}
- name: tls
  mountPath: /etc/loraplex/tls
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
