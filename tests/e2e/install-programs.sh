#!/bin/sh
# What the tests take from Debian: a browser, and npm with Node.js for an identity provider, the editor and axe. Installed
# when we may (root on a Debian machine); otherwise tests are skipped with this reason, and in CI (CI=true) that is a failure.
set -eu
wanted() {
    command -v "${LEOFLOW_CHROMIUM:-chromium}" >/dev/null || echo chromium
    { command -v npm && command -v node; } >/dev/null || echo npm
}
packages=$(wanted)
if [ -z "$packages" ]; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "e2e: installing from Debian (once): $packages" >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086  # names of packages, one or two
    if { apt-get update -qq && apt-get install -y -qq --no-install-recommends $packages; } </dev/null >"$log" 2>&1; then
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
