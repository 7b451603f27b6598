{{/* What the schema cannot see: values that contradict each other. */}}

{{- define "loraplex.check" -}}
{{- include "loraplex.checkModel" . -}}
{{- include "loraplex.checkStorage" . -}}
{{- include "loraplex.checkSecrets" . -}}
{{- include "loraplex.checkReplicas" . -}}
{{- include "loraplex.checkReach" . -}}
{{- end -}}

{{- define "loraplex.checkModel" -}}
{{- if and .Values.demo .Values.model -}}
{{- fail "demo and model: the demo brings a model of its own; give one of them" -}}
{{- end -}}
{{- if not (or .Values.demo .Values.model) -}}
{{- fail "model is missing: a hub id, or a folder such as /models/NAME; or set demo: true" -}}
{{- end -}}
{{- if and .Values.demo (ne .Values.storage.adapters.type "none") -}}
{{- fail "demo and storage.adapters: the demo brings adapters of its own" -}}
{{- end -}}
{{- if and (hasPrefix "/models/" .Values.model) (eq .Values.storage.models.type "none") (not .Values.extraVolumeMounts) -}}
{{- fail (printf "model is %s, but storage.models.type is none: nothing is mounted there" .Values.model) -}}
{{- end -}}
{{- if and (gt (int .Values.tensorParallelSize) 1) (not .Values.gpu.enabled) -}}
{{- fail "tensorParallelSize is above 1, but gpu.enabled is false: it is the number of GPUs that share one model" -}}
{{- end -}}
{{- end -}}

{{- define "loraplex.checkStorage" -}}
{{- range $part, $storage := omit .Values.storage "sharedMemory" "tmp" -}}
{{- if and (eq $storage.type "existingClaim") (not $storage.name) -}}
{{- fail (printf "storage.%s.type is existingClaim: storage.%s.name is missing" $part $part) -}}
{{- end -}}
{{- if and (ne $storage.type "existingClaim") $storage.name -}}
{{- fail (printf "storage.%s.name is a claim that is there, but storage.%s.type is %s" $part $part $storage.type) -}}
{{- end -}}
{{- if and (ne $storage.type "image") $storage.reference -}}
{{- fail (printf "storage.%s.reference is an image, but storage.%s.type is %s" $part $part $storage.type) -}}
{{- end -}}
{{- if and (eq $storage.type "claim") (not $storage.size) -}}
{{- fail (printf "storage.%s.type is claim: storage.%s.size is missing" $part $part) -}}
{{- end -}}
{{- if and (eq $storage.type "image") (not $storage.reference) -}}
{{- fail (printf "storage.%s.type is image: storage.%s.reference is missing" $part $part) -}}
{{- end -}}
{{- end -}}
{{- $many := gt (int (include "loraplex.mostReplicas" .)) 1 -}}
{{- if and (eq .Values.kind "Deployment") (has .Values.storage.state.type (list "claim" "existingClaim")) -}}
{{- fail "storage.state is a claim, but kind is Deployment: two pods of a rollout would write the same state; set kind: StatefulSet" -}}
{{- end -}}
{{- if and $many (eq .Values.storage.state.type "existingClaim") -}}
{{- fail "storage.state is one existing claim, but there may be several replicas: set type: claim, so that each has its own" -}}
{{- end -}}
{{- range $part := list "models" "adapters" -}}
{{- $storage := index $.Values.storage $part -}}
{{- $empty := and (eq $storage.type "claim") (not $storage.storageClassName) (not $.Values.initContainers) -}}
{{- if and $empty (eq (join "," $storage.accessModes) "ReadOnlyMany") -}}
{{- fail (printf "storage.%s is a new claim that can only be read, and stays empty: set accessModes [ReadWriteMany] and fill it, or type: existingClaim" $part) -}}
{{- end -}}
{{- end -}}
{{- $surge := and (eq .Values.kind "Deployment") (ne (.Values.updateStrategy.type | default "RollingUpdate") "Recreate") -}}
{{- range $part := list "models" "adapters" "cache" -}}
{{- $storage := index $.Values.storage $part -}}
{{- $shared := and (eq $storage.type "claim") (not (include "loraplex.isTemplated" (list $ $part))) -}}
{{- $anywhere := or (has "ReadWriteMany" $storage.accessModes) (has "ReadOnlyMany" $storage.accessModes) -}}
{{- if and $shared (or $many $surge) (not $anywhere) -}}
{{- fail (printf "storage.%s is one claim for all pods, but with accessModes %s one node can mount it: set [ReadWriteMany], or kind: StatefulSet with one replica, or updateStrategy.type: Recreate" $part (join "," $storage.accessModes)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "loraplex.checkSecrets" -}}
{{- range $name, $secret := dict "auth.apiKey" .Values.auth.apiKey "auth.adminKey" .Values.auth.adminKey "huggingFace" .Values.huggingFace -}}
{{- if and $secret.existingSecret $secret.value -}}
{{- fail (printf "%s has both existingSecret and value: give one of them" $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tenants.existingSecret .Values.tenants.keys -}}
{{- fail "tenants has both existingSecret and keys: give one of them" -}}
{{- end -}}
{{- end -}}

{{- define "loraplex.checkReplicas" -}}
{{- $strategy := .Values.updateStrategy.type | default "RollingUpdate" -}}
{{- if not (has $strategy (list "RollingUpdate" (ternary "Recreate" "OnDelete" (eq .Values.kind "Deployment")))) -}}
{{- fail (printf "updateStrategy.type is %s, which a %s does not have" $strategy .Values.kind) -}}
{{- end -}}
{{- with .Values.autoscaling -}}
{{- if and (ne .type "none") (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "autoscaling.minReplicas is %d, above maxReplicas, which is %d" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- if and (eq .type "hpa") (eq (int .minReplicas) 0) -}}
{{- fail "autoscaling.minReplicas is 0, which an HPA cannot do: set type: keda, or minReplicas: 1" -}}
{{- end -}}
{{- if and (eq .type "keda") (not .keda.serverAddress) -}}
{{- fail "autoscaling.type is keda: autoscaling.keda.serverAddress, the URL of Prometheus, is missing" -}}
{{- end -}}
{{- if and (eq .type "keda") (eq (int .minReplicas) 0) (not .keda.wakeQuery) -}}
{{- fail "autoscaling.minReplicas is 0: autoscaling.keda.wakeQuery is missing, and nothing would start a replica again, since the metrics of the servers go with the last of them" -}}
{{- end -}}
{{- if and (eq .type "none") .keda.wakeQuery -}}
{{- fail "autoscaling.keda.wakeQuery is set, but autoscaling.type is none" -}}
{{- end -}}
{{- end -}}
{{- $seats := index .Values.settings "max-num-seqs" | default 32 | int -}}
{{- if and (ne .Values.autoscaling.type "none") (gt (int .Values.autoscaling.inFlightPerReplica) $seats) -}}
{{- fail (printf "autoscaling.inFlightPerReplica is %d, but a replica has %d seats (settings.max-num-seqs)" (int .Values.autoscaling.inFlightPerReplica) $seats) -}}
{{- end -}}
{{- with .Values.podDisruptionBudget -}}
{{- $least := int (include "loraplex.leastReplicas" $) -}}
{{- if and .enabled (eq .by "minAvailable") (or (eq (toString .amount) "100%") (and (not (kindIs "string" .amount)) (ge (int .amount) $least))) -}}
{{- fail (printf "podDisruptionBudget wants %v available, but there may be only %d: no node could ever be drained" .amount $least) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "loraplex.checkReach" -}}
{{- if and .Values.inferencePool.enabled (not .Values.inferencePool.create) (not .Values.inferencePool.name) -}}
{{- fail "inferencePool.create is false: inferencePool.name, the pool that is there, is missing" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled .Values.inferencePool.create (not .Values.inferencePool.endpointPicker.name) -}}
{{- fail "inferencePool.enabled: inferencePool.endpointPicker.name, the Service of the endpoint picker, is missing" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled (not .Values.inferencePool.create) .Values.inferencePool.endpointPicker.name -}}
{{- fail "inferencePool.endpointPicker belongs to a pool of this chart, but inferencePool.create is false" -}}
{{- end -}}
{{- if and (not .Values.inferencePool.enabled) (or .Values.inferencePool.objectives .Values.inferencePool.rewrites) -}}
{{- fail "inferencePool.objectives and rewrites belong to a pool, but inferencePool.enabled is false" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled: httpRoute.parentRefs, the gateway, is missing" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled .Values.tls.existingSecret -}}
{{- fail "inferencePool.enabled with tls: a gateway speaks plain HTTP to the pods of a pool" -}}
{{- end -}}
{{- if and .Values.inferencePool.enabled (include "loraplex.hidesMetrics" .) -}}
{{- fail "inferencePool.enabled with tenants or an admin's key: an endpoint picker reads /metrics and sends no key; set metrics.open: true, and let networkPolicy say who reaches it" -}}
{{- end -}}
{{- $root := index .Values.settings "root-path" -}}
{{- range $name := list "ingress" "httpRoute" -}}
{{- $route := index $.Values $name -}}
{{- /* The server's own paths stay as they are, and an ingress may be told to take the path off. */ -}}
{{- $own := regexMatch "^/($|(v1|generate|generate_stream|embed|completions?|lora-adapters|tokenize|detokenize|health|ready|version)(/|$))" $route.path -}}
{{- $rewritten := regexMatch "rewrite|strip|middleware" (toJson $route.annotations) -}}
{{- if and $route.enabled (not (or $own $rewritten (and $root (hasPrefix $root $route.path)))) -}}
{{- fail (printf "%s.path is %s, which is left in front of the server's own paths: set settings.root-path to it" $name $route.path) -}}
{{- end -}}
{{- end -}}
{{- $scraperHasKey := or .Values.metrics.monitor.keySecret.name (include "loraplex.hasSecret" .Values.auth.adminKey) -}}
{{- if and .Values.metrics.monitor.enabled (include "loraplex.hidesMetrics" .) (not $scraperHasKey) -}}
{{- fail "metrics.monitor.enabled with tenants: /metrics takes an admin's key; set auth.adminKey or metrics.monitor.keySecret, or metrics.open: true" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.host "") .Values.ingress.tlsSecret -}}
{{- fail "ingress.tlsSecret is set, but ingress.host is empty: a certificate is for a host" -}}
{{- end -}}
{{- end -}}
