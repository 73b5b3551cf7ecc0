#!/bin/sh
# Bring .venv to the state of one lock: `locks/install.sh lite` (what a user needs) or `locks/install.sh dev` (plus
# tests and linters; it contains all of lite). The Makefile calls it before everything else, so it must cost nothing and
# touch no network when nothing changed: a stamp in .venv holds the hash of what was installed.
# Why uv and a fallback to pip, and why the locks name no index: docs/adr/0010-locks-without-addresses.md
set -eu

set_name=$1
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/leoflow-setup

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# The path counts too: an editable install points at it. A dev environment serves lite as well.
wanted() { printf '%s ' "$1"; { pwd; cat "locks/$1.txt" locks/uv.txt locks/install.sh pyproject.toml; } | sha256sum; }
if [ -x $venv/bin/python ] && [ -f $stamp ]; then
    have=$(cat $stamp)
    if [ "$have" = "$(wanted "$set_name")" ] || [ "$have" = "$(wanted dev)" ]; then exit 0; fi
fi

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found on PATH; install one, or name it: make setup PYTHON=/path/to/python3.11"
}

make_venv() {
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear $venv && return
    # Debian splits venv off into a package of its own.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "venv is missing; installing Debian's python3-venv"
        apt-get update -qq </dev/null && apt-get install -y -qq --no-install-recommends python3-venv </dev/null >/dev/null
        "$python" -m venv --clear $venv && return
    fi
    fail "'$python -m venv' failed (see above). On Debian and Ubuntu: apt-get install python3-venv. Then run make again"
}

# A venv that was moved or copied has a broken interpreter or broken scripts; both show here.
if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then make_venv; fi

# Companies put their own certificate into the system's store; pip's configuration may name it, uv has to be told.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
pip="$venv/bin/python -m pip --disable-pip-version-check"
say "installing locks/$set_name.txt"
if $pip install --quiet --require-hashes --no-deps -r locks/uv.txt &&
    $venv/bin/uv pip sync --quiet --python $venv/bin/python --require-hashes --compile-bytecode "locks/$set_name.txt"; then
    $venv/bin/uv pip install --quiet --python $venv/bin/python --no-deps --no-build-isolation --editable .
else
    # No uv for this platform, or it cannot reach the index that pip is configured for.
    say "uv did not work here; the same lock goes in with pip (slower)"
    $pip install --quiet --require-hashes --no-deps -r "locks/$set_name.txt"
    $pip install --quiet --no-deps --no-build-isolation --editable .
fi
# Byte code of our own sources: a start must be quick even where writing it on import is switched off.
$venv/bin/python -m compileall -q leoflowd agent sensors
wanted "$set_name" >$stamp
say "done"
