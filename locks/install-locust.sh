#!/bin/sh
# An environment for locust alone: it patches sockets for gevent, and nothing of ours is imported there but its scenarios.
set -eu
cd "$(dirname "$0")/.."
venv=.cache/locust
[ -x $venv/bin/locust ] && [ "$(cat $venv/stamp 2>/dev/null)" = "$(sha256sum locks/load.txt)" ] && exit 0
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
.venv/bin/uv venv --quiet --clear $venv
.venv/bin/uv pip sync --quiet --python $venv/bin/python --require-hashes locks/load.txt
sha256sum locks/load.txt >$venv/stamp
