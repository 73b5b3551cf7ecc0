#!/usr/bin/env bash
# What `make e2e-kube` needs of this machine: builders, runtimes and a registry from Debian, API server and
# kubelet of tests/kube/real.sh, and a root with Python made of Debian's packages, in the user's cache. Prints that root's path.
set -euo pipefail
cd "$(dirname "$0")/../.."

CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/leoflow/e2e-kube"
# As images of Python have it: the library of C++, a shell, its tools, certificates, time zones.
PACKAGES=python3,python3-venv,libstdc++6,bash,dash,coreutils,grep,sed,findutils,libc-bin,ca-certificates,media-types,netbase,tzdata
declare -A TOOLS=([buildah]=buildah [podman]=podman [runc]=runc [docker-registry]=docker-registry [mmdebstrap]=mmdebstrap
    [jq]=jq [containerd]=containerd [/usr/lib/cni/bridge]=containernetworking-plugins [dockerd]=docker.io)
if apt-cache show docker-cli > /dev/null 2>&1; then TOOLS[docker]=docker-cli; fi # since Debian 13 a package of its own

die() { echo "e2e-kube: $*" >&2; exit 1; }

missing=()
for tool in "${!TOOLS[@]}"; do command -v "$tool" > /dev/null || missing+=("${TOOLS[$tool]}"); done
[ "$(id -u)" = 0 ] || die "containers need root here: mounts, namespaces, cgroups. Run it as root, on Debian or Ubuntu"
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get > /dev/null || die "missing: ${missing[*]}; install them with your package manager"
    install=(apt-get install -y -q --no-install-recommends "${missing[@]}")
    "${install[@]}" >&2 || { apt-get update -q >&2 && "${install[@]}" >&2; }
fi

tests/kube/real.sh build kubelet
codename="$(. /etc/os-release && echo "$VERSION_CODENAME")"
root="$CACHE/$codename-2/root.tar"
if [ ! -e "$root" ]; then
    mkdir -p "$(dirname "$root")"
    # Unpacked, not configured: seconds instead of a minute, and half the size.
    SOURCE_DATE_EPOCH=0 mmdebstrap --quiet --mode=root --variant=extract --include="$PACKAGES" "$codename" "$root.new.tar" >&2
    mv "$root.new.tar" "$root"
fi
cat > "$(dirname "$root")/Dockerfile" <<DOCKERFILE
FROM scratch
ADD root.tar /
RUN ["/bin/sh", "-c", "mkdir -p /etc/ssl/certs && cat /usr/share/ca-certificates/mozilla/*.crt > /etc/ssl/certs/ca-certificates.crt"]
DOCKERFILE
echo "$root"
