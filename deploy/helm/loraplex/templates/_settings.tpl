{{/* The settings file of the server. */}}

{{/* `settings`, and what follows from other values, which has no place there. */}}
{{- define "loraplex.settings" -}}
{{- $own := dict
  "port" 8000
  "state-dir" "/state"
  "adapter-cache" "/cache/adapters"
  "quantization-cache" "/cache/weights"
  "log-format" "json"
  "shutdown-delay" .Values.shutdown.delaySeconds
  "shutdown-timeout" .Values.shutdown.timeoutSeconds
-}}
{{- if not .Values.demo }}{{ $_ := set $own "model" .Values.model }}{{ end -}}
{{- if ne .Values.storage.adapters.type "none" }}{{ $_ := set $own "adapters" "/adapters" }}{{ end -}}
{{- /* An image without CUDA then fails, instead of serving from the CPU while it has a GPU. */ -}}
{{- if .Values.gpu.enabled }}{{ $_ := set $own "device" "cuda" }}{{ end -}}
{{- if gt (int .Values.tensorParallelSize) 1 -}}
{{- $_ := set $own "tensor-parallel-size" .Values.tensorParallelSize -}}
{{- end -}}
{{- if include "loraplex.tenantsSecret" . -}}
{{- $_ := set $own "keys" (printf "/etc/loraplex/tenants/%s" .Values.tenants.key) -}}
{{- end -}}
{{- if .Values.metrics.open }}{{ $_ := set $own "open-metrics" true }}{{ end -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $own "ssl-certfile" "/etc/loraplex/tls/tls.crt" -}}
{{- $_ := set $own "ssl-keyfile" "/etc/loraplex/tls/tls.key" -}}
{{- end -}}
{{- with include "loraplex.threads" . }}{{ $_ := set $own "threads" (int .) }}{{ end -}}
{{- with .Values.tracing.endpoint }}{{ $_ := set $own "otlp-traces-endpoint" . }}{{ end -}}
{{- range $name, $value := merge (deepCopy .Values.settings) $own }}
{{- /* toYaml would write a million as 1e+06, which YAML reads as text. */}}
{{ $name }}: {{ toJson $value }}
{{- end -}}
{{- end -}}

{{/* As many as there are CPUs to have: a container sees all of its node's. */}}
{{- define "loraplex.threads" -}}
{{- $cpu := toString (dig "limits" "cpu" (dig "requests" "cpu" "" .Values.resources) .Values.resources) -}}
{{- if hasSuffix "m" $cpu -}}
{{- max 1 (divf (trimSuffix "m" $cpu) 1000 | ceil | int) -}}
{{- else if $cpu -}}
{{- max 1 (float64 $cpu | ceil | int) -}}
{{- end -}}
{{- end -}}

{{/* Whether anything is looked for beyond the volumes. */}}
{{- define "loraplex.isRemote" -}}
{{- if not (or .Values.demo (hasPrefix "/" .Values.model)) }}true{{ end -}}
{{- $sources := index .Values.settings "allow-adapter-source" | default list -}}
{{- $sources = kindIs "string" $sources | ternary (splitList "," (toString $sources)) $sources -}}
{{- range $sources }}{{ if not (hasPrefix "/" (trim .)) }}true{{ end }}{{ end -}}
{{- $modules := index .Values.settings "lora-modules" | default list -}}
{{- $modules = kindIs "slice" $modules | ternary $modules (list $modules) -}}
{{- range $modules -}}
{{- $text := kindIs "string" . | ternary (toString .) (toJson .) -}}
{{- if not (regexMatch "(=|\"path\": ?\")/" $text) }}true{{ end -}}
{{- end -}}
{{- end -}}
