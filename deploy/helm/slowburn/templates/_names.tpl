{{/* Names, labels and settings that several objects share. */}}

{{- define "slowburn.name" -}}
{{- if contains "slowburn" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-slowburn" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "slowburn.selector" -}}
app.kubernetes.io/name: slowburn
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "slowburn.labels" -}}
{{ include "slowburn.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "slowburn.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "slowburn.name" .) }}
{{- end }}

{{- define "slowburn.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "slowburn.scheme" -}}
{{ if .Values.tls.secretName }}https{{ else }}http{{ end }}
{{- end }}

{{/* Whether the pods talk to the API server. */}}
{{- define "slowburn.talksToApiServer" -}}
{{ if or .Values.gate.lease.enabled .Values.gate.tokenReview.enabled .Values.cluster.enabled }}true{{ end }}
{{- end }}

{{- define "slowburn.externalUrl" -}}
{{- if .Values.externalUrl }}{{ .Values.externalUrl }}
{{- else if and .Values.ingress.enabled .Values.ingress.host }}{{ ternary "https" "http" (ne .Values.ingress.tlsSecretName "") }}://{{ .Values.ingress.host }}
{{- else }}{{ include "slowburn.scheme" . }}://{{ include "slowburn.name" . }}.{{ .Release.Namespace }}.svc:9595{{ end }}
{{- end }}

{{/*
slowburn.yaml: what the values say, and what the chart knows. Whatever may be read by anybody who reaches the port is
named as such, unless identities or certificates say who reads.
*/}}
{{- define "slowburn.settings" -}}
{{- $own := dict "listen" "0.0.0.0:9595" "external_url" (include "slowburn.externalUrl" .) }}
{{- $auth := dict }}
{{- if .Values.gate.identities }}{{ $_ := set $auth "identities" "/config/identities.yaml" }}{{ end }}
{{- if .Values.gate.tokenReview.enabled }}{{ $_ := set $auth "token_review" (dict "audience" .Values.gate.tokenReview.audience) }}{{ end }}
{{- if $auth }}{{ $_ := set $own "auth" $auth }}{{ end }}
{{- if not (hasKey .Values.settings "listen_anywhere") }}{{ $_ := set $own "listen_anywhere" true }}{{ end }}
{{- if .Values.gate.lease.enabled }}
{{- $_ := set $own "audit" (dict "dir" "/shared/audit" "lease" (dict "name" (include "slowburn.name" .) "duration" .Values.gate.lease.duration)) }}
{{- end }}
{{- if .Values.cluster.enabled }}
{{- $cluster := dict "kinds" .Values.cluster.kinds }}
{{- with .Values.cluster.namespaces }}{{ $_ := set $cluster "namespaces" . }}{{ end }}
{{- with .Values.cluster.labels }}{{ $_ := set $cluster "labels" . }}{{ end }}
{{- $_ := set $own "cluster" $cluster }}
{{- end }}
{{- if .Values.tls.secretName }}
{{- $tls := dict "cert_file" "/tls/tls.crt" "key_file" "/tls/tls.key" }}
{{- if .Values.tls.clientCaKey }}{{ $_ := set $tls "client_ca_file" (printf "/tls/%s" .Values.tls.clientCaKey) }}{{ end }}
{{- $_ := set $own "tls" $tls }}
{{- end }}
{{- toYaml (mergeOverwrite (deepCopy .Values.settings) $own) }}
{{- end }}

{{/* Requests and limits; memory is twice and a half of what was measured for so many SLOs. */}}
{{- define "slowburn.resources" -}}
{{- $sizes := dict
  "small" (dict "cpu" "50m" "memory" "64Mi" "limit" "256Mi")
  "medium" (dict "cpu" "100m" "memory" "192Mi" "limit" "512Mi")
  "large" (dict "cpu" "500m" "memory" "640Mi" "limit" "1280Mi")
  "huge" (dict "cpu" "1" "memory" "1Gi" "limit" "2Gi") }}
{{- $size := get $sizes .Values.fleetSize }}
{{- $known := dict "requests" (dict "cpu" $size.cpu "memory" $size.memory) "limits" (dict "memory" $size.limit) }}
{{- toYaml (mergeOverwrite $known (deepCopy .Values.resources)) }}
{{- end }}
