{{- define "leoflow.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "leoflow.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "leoflow.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "leoflow.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "leoflow.image" -}}
{{- if not .Values.image.repository -}}
{{- fail "image.repository is empty: name the image of the daemon, as helm/image/Dockerfile builds it" -}}
{{- end -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "leoflow.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "leoflow.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "leoflow.taskServiceAccount" -}}
{{- if .Values.tasks.serviceAccount.create -}}
{{ default (printf "%s-task" (include "leoflow.fullname" .)) .Values.tasks.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.tasks.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- define "leoflow.taskNamespace" -}}
{{ default .Release.Namespace .Values.tasks.namespace }}
{{- end -}}

{{- /* One Leoflow per namespace of tasks may have its name: it is what tells its pods from another one's. */ -}}
{{- define "leoflow.installation" -}}
{{ printf "%s-%s" .Release.Namespace (include "leoflow.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "leoflow.secret" -}}
{{ default (printf "%s-secrets" (include "leoflow.fullname" .)) .Values.secrets.existingSecret }}
{{- end -}}

{{- define "leoflow.agentsHost" -}}
{{ include "leoflow.fullname" . }}-agents.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "leoflow.agentsTls" -}}
{{- if eq .Values.agents.tls.mode "existing" -}}
{{ required "agents.tls.existingSecret is empty, and agents.tls.mode is existing" .Values.agents.tls.existingSecret }}
{{- else -}}
{{ include "leoflow.fullname" . }}-agents-tls
{{- end -}}
{{- end -}}

{{- define "leoflow.agentsCa" -}}
{{- if eq .Values.agents.tls.mode "generated" -}}
{{ include "leoflow.fullname" . }}-agents-ca
{{- else -}}
{{ required (printf "agents.tls.caConfigMap is empty: with agents.tls.mode %s, name the ConfigMap in namespace %s whose ca.crt signs the agents' service" .Values.agents.tls.mode (include "leoflow.taskNamespace" .)) .Values.agents.tls.caConfigMap }}
{{- end -}}
{{- end -}}

{{- define "leoflow.allowedHosts" -}}
{{- $name := include "leoflow.fullname" . -}}
{{- $hosts := concat (list $name (printf "%s.%s" $name .Release.Namespace) (printf "%s.%s.svc" $name .Release.Namespace)) .Values.ingress.hosts .Values.gateway.hosts .Values.allowedHosts -}}
{{- with .Values.oidc.publicUrl -}}{{- $hosts = append $hosts (index (urlParse .) "hostname") -}}{{- end -}}
{{ join "," ($hosts | uniq) }}
{{- end -}}

{{- /* {group: [name, name]} as the daemon reads it. */ -}}
{{- define "leoflow.groupMap" -}}
{{- $entries := list -}}
{{- range $group, $names := . }}{{ range $name := $names }}{{ $entries = append $entries (printf "%s=%s" $group $name) }}{{ end }}{{ end -}}
{{ join "; " $entries }}
{{- end -}}

{{- define "leoflow.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.runAsUser }}
runAsGroup: {{ .Values.runAsUser }}
fsGroup: {{ .Values.runAsUser }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "leoflow.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* The parts that every pod of the daemon's image reads: where the stores are. */ -}}
{{- define "leoflow.storeEnv" -}}
- name: LEOFLOW_DATABASE
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-stores" (include "leoflow.fullname" .)) .Values.database.existingSecret }}
      key: {{ if .Values.database.existingSecret }}{{ .Values.database.key }}{{ else }}databaseUrl{{ end }}
{{- if .Values.redis.enabled }}
- name: LEOFLOW_REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-stores" (include "leoflow.fullname" .)) .Values.redis.existingSecret }}
      key: {{ if .Values.redis.existingSecret }}{{ .Values.redis.key }}{{ else }}redisUrl{{ end }}
{{- end }}
{{- end -}}

{{- define "leoflow.checks" -}}
{{- if and (not .Values.database.url) (not .Values.database.existingSecret) -}}
{{- fail "no database: set database.url, or database.existingSecret to a Secret with the URL of a PostgreSQL 14 or newer" -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.redis.url) (not .Values.redis.existingSecret) -}}
{{- fail "no Redis: set redis.url, or redis.existingSecret to a Secret with the URL of a Redis 6 or newer; or redis.enabled=false to do without" -}}
{{- end -}}
{{- if and .Values.oidc.issuer (or (not .Values.oidc.publicUrl) (not .Values.oidc.clientId)) -}}
{{- fail "oidc.issuer is set: set oidc.publicUrl and oidc.clientId, too" -}}
{{- end -}}
{{- if and .Values.oidc.issuer (not .Values.oidc.groupRoles) (not .Values.oidc.defaultRole) -}}
{{- fail "nobody could log in through oidc.issuer: set oidc.groupRoles or oidc.defaultRole" -}}
{{- end -}}
{{- if and .Values.admission.requireSigned (not .Values.admission.signers) -}}
{{- fail "admission.requireSigned is set: name the keys that sign in admission.signers, or no version could be registered" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts is empty: name the hosts" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs is empty: name the gateway" -}}
{{- end -}}
{{- if and (eq .Values.agents.tls.mode "certManager") (not .Values.agents.tls.certManager.issuerRef) -}}
{{- fail "agents.tls.certManager.issuerRef is empty: name the issuer" -}}
{{- end -}}
{{- $leads := false -}}{{- $watches := false -}}{{- $daemons := 0 -}}
{{- range $role, $of := .Values.roles -}}
{{- if not (kindIs "invalid" $of) -}}
{{- if has $role (list "all" "scheduler") -}}{{- $leads = true -}}{{- end -}}
{{- if has $role (list "all" "pool") -}}{{- $watches = true -}}{{- end -}}
{{- $daemons = add $daemons (ternary (dig "autoscaling" "maxReplicas" 1 $of) (int (default 1 $of.replicas)) (dig "autoscaling" "enabled" false $of)) -}}
{{- end -}}
{{- end -}}
{{- if not $leads -}}{{- fail "roles: nobody would schedule; give `all` or `scheduler` a replica" -}}{{- end -}}
{{- if not $watches -}}{{- fail "roles: nobody would watch the waits; give `all` or `pool` a replica" -}}{{- end -}}
{{- if and (gt (int $daemons) 1) (not .Values.logs.url) -}}
{{- fail (printf "logs.url is empty, and %d daemons would each keep the logs that they get: name an object store (s3://..., gs://..., az://...), or run one daemon" (int $daemons)) -}}
{{- end -}}
{{- end -}}
