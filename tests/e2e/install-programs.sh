#!/bin/sh
# What the tests take from Debian: a browser, npm with Node.js for an identity provider, the editor and axe, and Prometheus
# with its promtool for alerts and dashboards. Installed when we may (root on a Debian machine), Prometheus unpacked beside
# the tests (its package would start a server); otherwise tests are skipped with this reason, in CI (CI=true) they fail.
set -eu
cd "$(dirname "$0")/../.."
prometheus=.cache/prometheus
wanted() {
    command -v "${LEOFLOW_CHROMIUM:-chromium}" >/dev/null || echo chromium
    { command -v npm && command -v node; } >/dev/null || echo npm
    [ -x "$prometheus/usr/bin/promtool" ] || echo prometheus
}
installed() {
    [ -z "$*" ] || apt-get install -y -qq --no-install-recommends "$@"
}
unpacked() { # by a name of its own first: two runs may do this at once
    [ -x "$prometheus/usr/bin/promtool" ] && return
    mkdir -p .cache
    folder=$(mktemp -d .cache/prometheus-XXXXXX)
    (cd "$folder" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) &&
        { mv -T "$folder" "$prometheus" 2>/dev/null || rm -rf "$folder"; }
}
packages=$(wanted)
if [ -z "$packages" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "e2e: taking from Debian (once):" $packages >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2046  # names of packages, one or two
    if { apt-get update -qq && installed $(wanted | grep -vx prometheus) && unpacked; } </dev/null >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    cat "$log" >&2
    rm -f "$log"
fi
for package in $(wanted); do
    echo "e2e: no $package on this machine; install it (Debian: apt-get install $package)" >&2
done
if [ "${CI:-}" = true ]; then exit 1; fi
