#!/usr/bin/env bash
# A real node for the API server of real.sh: its kubelet, containerd and runc, a bridge for its pods.
#
#   node.sh start FOLDER API_FOLDER PAUSE_IMAGE   API_FOLDER as `real.sh start` made it; the image stays alive and does nothing
#   node.sh stop FOLDER
#
# Needs root, and of Debian: containerd, runc, containernetworking-plugins. What it leaves in the kernel (bridge, mounts,
# cgroups) goes with `stop`.
set -euo pipefail

NODE=node-1
BRIDGE=leoflow0
ADDRESS=10.231.0.1
SUBNET=10.231.0.0/24
KUBELET="$("$(dirname "$0")/real.sh" where)/kubelet"
READY_S="${KUBE_READY_S:-90}"

die() { echo "node.sh: $*" >&2; exit 1; }

start() {
    local folder="$1" api="$2" pause="$3"
    mkdir -p "$folder/cni"
    ip link add "$BRIDGE" type bridge
    ip address add "$ADDRESS/24" dev "$BRIDGE"
    ip link set "$BRIDGE" up
    settings "$folder" "$pause"
    certificate "$folder" "$api"
    PATH="$PATH:/usr/sbin:/sbin" setsid containerd --config "$folder/containerd.toml" > "$folder/containerd.log" 2>&1 < /dev/null &
    echo $! > "$folder/containerd.pid"
    wait_for "containerd" "$folder/containerd.log" ctr --address "$folder/containerd.sock" version
    PATH="$PATH:/usr/sbin:/sbin" setsid "$KUBELET" --config "$folder/kubelet.yaml" --kubeconfig "$folder/kubeconfig" \
        --root-dir "$folder/kubelet" --cert-dir "$folder/pki" --hostname-override "$NODE" --node-ip "$ADDRESS" \
        --container-runtime remote --container-runtime-endpoint "unix://$folder/containerd.sock" \
        > "$folder/kubelet.log" 2>&1 < /dev/null &
    echo $! > "$folder/kubelet.pid"
    wait_for "the kubelet" "$folder/kubelet.log" is_ready "$api"
}

settings() { # folder, pause image
    cat > "$1/containerd.toml" <<TOML
version = 2
root = "$1/containerd"
state = "$1/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$1/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$2"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$1/cni"
TOML
    cat > "$1/cni/10-leoflow.conf" <<CNI
{"cniVersion": "0.4.0", "name": "leoflow", "type": "bridge", "bridge": "$BRIDGE", "isGateway": true,
 "ipam": {"type": "host-local", "subnet": "$SUBNET", "dataDir": "$1/addresses", "routes": [{"dst": "0.0.0.0/0"}]}}
CNI
    cat > "$1/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ADDRESS
port: 10250
readOnlyPort: 0
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi, nodefs.available: 1%, imagefs.available: 1%}
makeIPTablesUtilChains: false
resolvConf: ""
syncFrequency: 10s
YAML
}

certificate() { # folder, folder of the API server
    (
        openssl req -newkey rsa:2048 -nodes -subj "/O=system:nodes/CN=system:node:$NODE" -keyout "$1/node.key" -out "$1/node.csr"
        openssl x509 -req -in "$1/node.csr" -CA "$2/ca.crt" -CAkey "$2/ca.key" -CAcreateserial -days 2 -out "$1/node.crt"
    ) > "$1/certificate.log" 2>&1 || { cat "$1/certificate.log" >&2; die "no certificate"; }
    sed -e "s#client-certificate: [^,]*#client-certificate: \"$1/node.crt\"#" -e "s#client-key: [^}]*#client-key: \"$1/node.key\"#" \
        "$2/admin.kubeconfig" > "$1/kubeconfig"
}

is_ready() { # folder of the API server
    local port
    read -r port _ < "$1/settings"
    curl -fs --cacert "$1/ca.crt" --cert "$1/admin.crt" --key "$1/admin.key" "https://127.0.0.1:$port/api/v1/nodes/$NODE" |
        jq -e '.status.conditions[] | select(.type == "Ready" and .status == "True")'
}

wait_for() { # what, its log, a question that succeeds once it is there
    local until=$(($(date +%s) + READY_S))
    until "${@:3}" > /dev/null 2>&1; do
        [ "$(date +%s)" -lt "$until" ] || { tail -30 "$2" >&2; die "$1 is not ready after $READY_S s; see $2"; }
        sleep 0.2
    done
}

stop() {
    local folder="$1"
    # Pods that are deleted by now it clears away itself, with their networks.
    [ -e "$folder/kubelet.pid" ] && for _ in $(seq 75); do
        [ -n "$(ctr --address "$folder/containerd.sock" -n k8s.io tasks ls -q 2> /dev/null)" ] || break
        sleep 0.2
    done
    end_one "$folder/kubelet.pid"
    for task in $(ctr --address "$folder/containerd.sock" -n k8s.io tasks ls -q 2> /dev/null); do
        ctr --address "$folder/containerd.sock" -n k8s.io tasks rm -f "$task" > /dev/null 2>&1 || true
    done
    end_one "$folder/containerd.pid"
    awk -v under="$folder/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
    find /sys/fs/cgroup -depth -type d -path '*/kubepods*' -exec rmdir {} + 2> /dev/null || true
    ip link delete "$BRIDGE" 2> /dev/null || true
}

end_one() {
    local pid
    [ -e "$1" ] || return 0
    pid="$(cat "$1")"
    kill -KILL -- "-$pid" 2> /dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2> /dev/null || break; sleep 0.1; done
    rm -f "$1"
}

case "${1:-}" in
    start) start "$2" "$3" "$4" ;;
    stop) stop "$2" ;;
    *) die "usage: node.sh start FOLDER API_FOLDER PAUSE_IMAGE | stop FOLDER" ;;
esac
