{{/* Labels of every object of the release; its runs have ftctl's own. */}}
{{- define "ftctl.labels" -}}
app.kubernetes.io/name: ftctl
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: launcher
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of its pods. */}}
{{- define "ftctl.podLabels" -}}
app.kubernetes.io/name: ftctl
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: launcher
{{- end }}

{{/* A text of the configuration, by root, section and key: an override's, else that of `config`. */}}
{{- define "ftctl.setting" -}}
{{- $root := index . 0 }}
{{- $found := dig (index . 1) (index . 2) "" $root.Values.config | default "" }}
{{- $start := printf "^[+]*%s[.]%s=" (index . 1) (index . 2) }}
{{- range $root.Values.overrides }}
{{- if regexMatch $start . }}
{{- $found = regexReplaceAll $start . "" | trimAll "'\"" }}
{{- end }}
{{- end }}
{{- if ne $found "null" }}{{ $found }}{{ end }}
{{- end }}

{{- define "ftctl.launcher" -}}
{{ .Release.Name }}-launcher
{{- end }}

{{- define "ftctl.image" -}}
{{- .Values.launcher.image | default (include "ftctl.setting" (list . "cluster" "image_convert")) | default (printf "ftctl-convert:%s" .Chart.AppVersion) }}
{{- end }}

{{/* Path to text, as YAML: what the launcher reads as --config-dir. The experiment is laid over the
     groups, and `config` over both. */}}
{{- define "ftctl.files" -}}
{{- $files := deepCopy .Values.files }}
{{- $main := deepCopy .Values.config }}
{{- if and $main (hasKey $files "config.yaml") }}
{{- fail "config and files.\"config.yaml\" are both a whole configuration: give one of them" }}
{{- end }}
{{- if not (hasKey $files "config.yaml") }}
{{- $choices := $main.defaults | default list }}
{{- if .Values.experiment }}
{{- $choices = append $choices (dict "experiment" .Values.experiment) }}
{{- end }}
{{- if not (has "_self_" $choices) }}
{{- $choices = append $choices "_self_" }}
{{- end }}
{{- $_ := set $files "config.yaml" (toYaml (set $main "defaults" $choices)) }}
{{- end }}
{{- toYaml $files }}
{{- end }}

{{/* A key of a ConfigMap has no slash. */}}
{{- define "ftctl.key" -}}
{{ replace "/" "__" . }}
{{- end }}

{{- define "ftctl.data" -}}
{{- range $path, $text := include "ftctl.files" . | fromYaml }}
{{ include "ftctl.key" $path }}: {{ toJson $text }}
{{- end }}
{{- end }}

{{/* Named by its content: a pod that still runs reads what it was made for. */}}
{{- define "ftctl.configMap" -}}
{{ .Release.Name }}-config-{{ include "ftctl.data" . | sha256sum | trunc 8 }}
{{- end }}

{{/* Arguments of every command: which configuration it is about. */}}
{{- define "ftctl.configuration" -}}
{{- range .Values.overrides }}
{{- if regexMatch "^[+]*cluster[.](namespace|context)=" . }}
{{- fail (printf "overrides: %s: a release launches in its own namespace (helm install --namespace)" .) }}
{{- end }}
{{- end }}
- --config-dir=/config
{{- if and .Values.experiment (hasKey .Values.files "config.yaml") }}
- {{ printf "experiment=%s" .Values.experiment | quote }}
{{- end }}
{{- range .Values.overrides }}
- {{ . | quote }}
{{- end }}
- cluster.namespace={{ .Release.Namespace }}
{{- end }}

{{/* Names of Secrets whose keys are environment variables. */}}
{{- define "ftctl.secrets" -}}
{{- $store := include "ftctl.setting" (list . "storage" "secret") }}
{{- concat (list $store) .Values.launcher.secrets | compact | uniq | toJson }}
{{- end }}

{{/* The port of the store, where the values say its URL. */}}
{{- define "ftctl.storePort" -}}
{{- $url := include "ftctl.setting" (list . "storage" "endpoint_url") }}
{{- $host := regexReplaceAll "^[a-z]+://([^/]*).*$" $url "${1}" }}
{{- if regexMatch ":[0-9]+$" $host }}{{ regexFind "[0-9]+$" $host }}{{ else if hasPrefix "http://" $url }}80{{ end }}
{{- end }}
