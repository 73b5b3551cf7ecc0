#!/usr/bin/env bash
# The wheel of a release in clean Debian roots: installed by pip, `leoflow lite` started, a run of the starter project seen to
# the end, all as somebody who just installed it. `make smoke`; SUITES="bookworm trixie", KEEP=1 leaves the roots.
#
# Needs root (chroot, mounts) and Debian's debootstrap, which is installed. Packages come through pip's own configuration
# on this machine into a folder; in the roots pip and uv know that folder alone, so nothing of this machine's Python helps.
set -euo pipefail
cd "$(dirname "$0")/../.."

SUITES=${SUITES:-bookworm trixie}
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/leoflow/release"
READY_WITHIN_S=${READY_WITHIN_S:-600}
RUN_WITHIN_S=${RUN_WITHIN_S:-300}
PASSWORD=smoke-Only-Password-7
python=$PWD/.venv/bin/python

say() { printf 'smoke: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
seconds() { printf '%s s' "$((SECONDS - $1))"; }

[ "$(id -u)" = 0 ] || die "needs root: chroot and mounts. Run it as root, on Debian"
command -v apt-get >/dev/null || die "needs Debian: no apt-get here"
if ! command -v debootstrap >/dev/null; then
    { apt-get install -y -qq --no-install-recommends debootstrap || { apt-get update -qq && apt-get install -y -qq debootstrap; }; } </dev/null >&2
fi

work=$(mktemp -d)
chmod 755 "$work"
mounted=()
lite=
leave() {
    if [ -n "$lite" ]; then stop || true; fi
    for place in "${mounted[@]}"; do umount "$place" || umount -l "$place" || true; done
    if [ -n "${KEEP:-}" ]; then say "left: $work"; else rm -rf --one-file-system "$work"; fi
}
trap leave EXIT
# As a service manager ends it: what a shell starts in the background hears no Ctrl-C.
stop() { kill -TERM "$(pgrep -P "$lite" || echo "$lite")" && wait "$lite"; }

root_of() { # suite: its root as a tar, made once
    local tar="$CACHE/$1-1.tar" mirror
    if [ ! -e "$tar" ]; then
        say "$1: a root by debootstrap (once)"
        mkdir -p "$CACHE"
        mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -1)
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$1" "$work/new" "$mirror" >"$work/debootstrap.log" 2>&1 ||
            { tail -5 "$work/debootstrap.log" >&2; die "$1: debootstrap failed"; }
        rm -rf "$work/new/var/cache/apt/archives/"*.deb "$work/new/var/lib/apt/lists/"*
        tar -C "$work/new" --one-file-system --numeric-owner -cf "$tar.new" .
        mv "$tar.new" "$tar"
        rm -rf --one-file-system "$work/new"
    fi
    printf '%s' "$tar"
}

# pip judges markers by the Python that runs it, whatever it downloads for.
without_markers() { # version of Python: a lock on stdin, what that Python wants of it on stdout
    "$python" -c '
import re, sys
from pip._vendor.packaging.markers import Marker, default_environment

full = sys.argv[1]
target = {**default_environment(), "python_full_version": full, "python_version": ".".join(full.split(".")[:2])}
for entry in re.split(r"\n(?=\S)", sys.stdin.read()):
    head, marker, rest = re.fullmatch(r"([^;\\]*?)(?: ; ([^\\]*?))?( \\\n.*|\n*)", entry, re.S).groups()
    if marker is None or Marker(marker).evaluate(target):
        print(head + rest.rstrip())
' "$1"
}

wheels_for() { # folder, version of Python: all that Lite and its default environment are made of
    for set_name in lite task-default; do
        without_markers "$2" <"locks/$set_name.txt" >"$work/wanted.txt"
        "$python" -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes --only-binary :all: \
            --python-version "$2" --dest "$1" -r "$work/wanted.txt" 2>"$work/pip.log" ||
            { grep -v '^WARNING' "$work/pip.log" >&2; die "no wheels of locks/$set_name.txt for Python $2"; }
    done
}

inside() { # root, command...
    local root=$1
    shift
    chroot --userspec=1000:1000 "$root" /usr/bin/env -i HOME=/home/smoke PATH=/home/smoke/venv/bin:/usr/bin:/bin LANG=C.UTF-8 \
        LEOFLOW_ADMIN_PASSWORD=$PASSWORD LEOFLOW_PASSWORD=$PASSWORD LEOFLOW_SERVER="http://127.0.0.1:$port" \
        LEOFLOW_UI_WHEEL=/wheels/ui/apache_airflow_core-3.2.2-py3-none-any.whl LEOFLOW_NPM_TARBALLS=/home/smoke \
        PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=/wheels \
        UV_PYTHON_DOWNLOADS=never "$@"
}

smoke() { # suite
    local suite=$1 root="$work/$1" version begin
    say "$suite: unpacking its root"
    mkdir "$root"
    tar -C "$root" -xf "$(root_of "$suite")"
    version=$(chroot "$root" python3 -c 'import platform; print(platform.python_version())')
    say "$suite: Python $version"
    mkdir "$root/wheels" "$root/wheels/ui"
    wheels_for "$root/wheels" "$version"
    cp "$ui" "$root/wheels/ui/"
    cp dist/*.whl "$root/wheels/"
    mount -t proc proc "$root/proc" && mounted+=("$root/proc")
    mount -t tmpfs tmpfs "$root/dev/shm" && mounted+=("$root/dev/shm")
    echo 'smoke:x:1000:1000::/home/smoke:/bin/sh' >>"$root/etc/passwd"
    install -d -o 1000 -g 1000 "$root/home/smoke"
    port=$("$python" -c 'from loadtests.lite_process import free_port; print(free_port())')

    begin=$SECONDS
    inside "$root" python3 -m venv /home/smoke/venv
    inside "$root" pip install --quiet 'leoflow[lite]'
    say "$suite: pip install 'leoflow[lite]' took $(seconds "$begin"), $(du -sm "$root/home/smoke/venv" | cut -f1) MB"

    inside "$root" leoflow init /home/smoke/leoflow/hello >/dev/null
    begin=$SECONDS
    inside "$root" leoflow lite --port "$port" >"$work/$suite.log" 2>&1 &
    lite=$!
    until grep -q '^ready: ' "$work/$suite.log"; do
        kill -0 "$lite" 2>/dev/null || { cat "$work/$suite.log" >&2; die "$suite: leoflow lite ended before it was ready"; }
        [ $((SECONDS - begin)) -lt "$READY_WITHIN_S" ] || { cat "$work/$suite.log" >&2; die "$suite: not ready in $READY_WITHIN_S s"; }
        sleep 0.2
    done
    say "$suite: ready after $(seconds "$begin")"
    inside "$root" leoflow auth login --username admin >/dev/null
    begin=$SECONDS
    until inside "$root" leoflow dags show hello >/dev/null 2>&1; do
        [ $((SECONDS - begin)) -lt "$RUN_WITHIN_S" ] || { inside "$root" leoflow dags list >&2; die "$suite: no DAG hello"; }
        sleep 0.5
    done
    inside "$root" leoflow dags unpause hello >/dev/null
    inside "$root" leoflow runs trigger hello --wait --timeout "$RUN_WITHIN_S" >"$work/$suite.run" ||
        { cat "$work/$suite.run" "$work/$suite.log" >&2; die "$suite: the run did not succeed"; }
    say "$suite: the DAG was there and its run a success after $(seconds "$begin"): $(tail -1 "$work/$suite.run")"
    inside "$root" python3 -c "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:$port/').status)" >/dev/null
    stop || die "$suite: leoflow lite ended with $? after SIGTERM"
    lite=
    say "$suite: it ended cleanly"
}

PARTS=wheel locks/release.sh >/dev/null
ui=${LEOFLOW_UI_WHEEL:-$("$python" -c 'from tests.conftest import pinned_wheel; print(pinned_wheel())')}
for suite in $SUITES; do smoke "$suite"; done
say "all of $SUITES: $(basename dist/*.whl) installs, starts and runs"
