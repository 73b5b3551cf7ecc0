#!/bin/sh
# The browser of the end-to-end tests: Debian's chromium. Installed when we may (root on a Debian machine); otherwise the
# browser tests are skipped with this reason, and in CI (CI=true) the missing part is a failure.
set -eu
if command -v "${LEOFLOW_CHROMIUM:-chromium}" >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "e2e: installing Debian's chromium (once)" >&2
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } </dev/null >"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    cat "$log" >&2
    rm -f "$log"
fi
echo "e2e: no chromium on this machine; install it (Debian: apt-get install chromium) or name one in LEOFLOW_CHROMIUM" >&2
if [ "${CI:-}" = true ]; then exit 1; fi
