{{/* The pod of a command. Call it with a dict: root, command. It runs nobody's code, so
     it has the token that pods of a run do not get. */}}
{{- define "ftctl.pod" -}}
{{- $root := .root }}
{{- with $root }}
{{- $config := .Values.config }}
serviceAccountName: {{ .Values.launcher.serviceAccount | default (include "ftctl.launcher" .) }}
automountServiceAccountToken: true
enableServiceLinks: false
restartPolicy: Never
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- $pull := concat .Values.launcher.imagePullSecrets (dig "cluster" "image_pull_secrets" list $config) | uniq }}
{{- if $pull }}
imagePullSecrets:
  {{- range $pull }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.launcher.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.launcher.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: launcher
    image: {{ include "ftctl.image" . }}
    imagePullPolicy: {{ .Values.launcher.imagePullPolicy }}
    command: [ftctl]
    args:
      {{- range $.command }}
      - {{ . | quote }}
      {{- end }}
      {{- include "ftctl.configuration" . | trim | nindent 6 }}
    workingDir: /config
    env:
      {{- $env := dict "HOME" "/work" "TMPDIR" "/work" "XDG_CACHE_HOME" "/work" "HF_HOME" "/work/huggingface" "NO_COLOR" "1" }}
      {{- with include "ftctl.setting" (list . "cluster" "hf_endpoint") }}
      {{- $_ := set $env "HF_ENDPOINT" . }}
      {{- end }}
      {{- range $name, $value := mustMerge (deepCopy .Values.launcher.env) $env }}
      - name: {{ $name }}
        value: {{ $value | quote }}
      {{- end }}
      {{- $named := include "ftctl.setting" (list . "other" "hf_token") | regexFind "^secret:.+" | trimPrefix "secret:" }}
      {{- $token := include "ftctl.setting" (list . "cluster" "hf_secret") | default $named }}
      {{- with $token }}
      - name: HF_TOKEN
        valueFrom:
          secretKeyRef:
            name: {{ splitList "/" . | first }}
            key: {{ if contains "/" . }}{{ splitList "/" . | last }}{{ else }}HF_TOKEN{{ end }}
      {{- end }}
    {{- with include "ftctl.secrets" . | fromJsonArray }}
    envFrom:
      {{- range . }}
      - secretRef: {name: {{ . }}}
      {{- end }}
    {{- end }}
    resources: {{- toYaml .Values.launcher.resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL]}
      readOnlyRootFilesystem: true
    terminationMessagePolicy: FallbackToLogsOnError
    volumeMounts:
      - {name: work, mountPath: /work}
      - {name: tmp, mountPath: /tmp}
      {{- /* One by one: in a whole volume folders are links, which a search for files does not follow. */}}
      {{- range $path, $_ := include "ftctl.files" . | fromYaml }}
      - name: config
        mountPath: /config/{{ $path }}
        subPath: {{ include "ftctl.key" $path }}
        readOnly: true
      {{- end }}
volumes:
  - name: work
    emptyDir: {}
  - name: tmp
    emptyDir: {}
  - name: config
    configMap: {name: {{ include "ftctl.configMap" . }}}
{{- end }}
{{- end }}

{{/* The spec of the launcher's Job. What would meet the same again is not tried again: store (5) and
     cluster (6) may work the next time. */}}
{{- define "ftctl.job" -}}
{{- $command := list "submit" "--yes" }}
{{- with .Values.sweep }}
{{- if .parallel }}
{{- $command = list "sweep" "--from-here" "--yes" (printf "--parallel=%d" (int .parallel)) (printf "--by=%s" .by) }}
{{- if .search }}
{{- $command = append $command (printf "--search=%d" (int .search)) }}
{{- end }}
{{- if .stopBad }}
{{- $command = append $command "--stop-bad" }}
{{- end }}
{{- with .alias }}
{{- $command = append $command (printf "--alias=%s" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- if not .Values.keepRuns }}
{{- $command = append $command (printf "--owner=%s-owner" .Release.Name) }}
{{- end }}
{{- if and .Values.schedule.cron .Values.schedule.always }}
{{- if .Values.sweep.parallel }}
{{- fail "schedule.always makes a new run each time, and a sweep is the same where its inputs are" }}
{{- end }}
{{- $command = append $command "--new" }}
{{- end }}
backoffLimit: {{ .Values.launcher.backoffLimit }}
{{- if not .Values.sweep.parallel }}
activeDeadlineSeconds: {{ .Values.launcher.deadline }}
{{- end }}
podReplacementPolicy: Failed
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes: {operator: NotIn, values: [5, 6, 137, 143]}
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
template:
  metadata:
    labels: {{- include "ftctl.podLabels" . | nindent 6 }}
  spec: {{- include "ftctl.pod" (dict "root" . "command" $command) | trim | nindent 4 }}
{{- end }}
