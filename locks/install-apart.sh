#!/bin/sh
# An environment of its own for tools that have no place beside ours, .cache/NAME from locks/NAME.txt:
# `locks/install-apart.sh load` (locust, which patches sockets for gevent), `locks/install-apart.sh release`.
set -eu
cd "$(dirname "$0")/.."
venv=.cache/$1
lock=locks/$1.txt
[ -x "$venv/bin/python" ] && [ "$(cat "$venv/stamp" 2>/dev/null)" = "$(sha256sum "$lock")" ] && exit 0
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
.venv/bin/uv venv --quiet --clear "$venv"
.venv/bin/uv pip sync --quiet --python "$venv/bin/python" --require-hashes "$lock"
sha256sum "$lock" >"$venv/stamp"
