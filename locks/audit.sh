#!/bin/sh
# Known vulnerabilities of everything that a user installs, by the exact pins of the locks: `make audit`. It needs the
# advisory service of the package index, or one by ARGS="--vulnerability-service osv"; without an answer it fails.
set -eu
cd "$(dirname "$0")/.."
locks/install-apart.sh release
exec .cache/release/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
    -r locks/lite.txt -r locks/daemon.txt -r locks/agent.txt -r locks/task-default.txt "$@"
