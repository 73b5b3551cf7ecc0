#!/bin/sh
# install.sh CONTEXT HOME: the daemon and its packages into a venv of the base's python3, the Airflow UI and
# the pages of the API. As root, without network.
set -eu
context=$1 home=$2
export PIP_NO_INDEX=1 PIP_FIND_LINKS="$context/wheels" PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

python=$(command -v python3) || { echo "install.sh: this base has no python3" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "install.sh: the daemon needs Python 3.11, and this base has $("$python" --version)" >&2
    exit 1
}
"$python" -m venv "$home"
"$home/bin/python" -m pip install -q --no-compile --no-deps --require-hashes -r "$context/daemon.txt"
"$home/bin/python" -m pip install -q --no-compile --no-deps "$context"/wheels/leoflow-*.whl
packages=$("$home/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages"/pip* "$packages"/setuptools* "$packages"/pkg_resources "$packages"/_distutils_hack "$packages"/distutils-precedence.pth
cp -R "$context/ui" "$home/ui"
cp -R "$context/packages" "$home/packages"
# Logs are here where no object store is set; the chart mounts a volume over it.
mkdir -p /var/log/leoflow
chown 50000:50000 /var/log/leoflow
grep -q '^[^:]*:[^:]*:50000:' /etc/passwd || echo 'leoflow:x:50000:50000:leoflow:/tmp:/usr/sbin/nologin' >> /etc/passwd
grep -q '^[^:]*:[^:]*:50000:' /etc/group || echo 'leoflow:x:50000:' >> /etc/group
find "$home" -name __pycache__ -prune -exec rm -rf {} +
"$context/bytecode.sh" "$python" "$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
"$context/bytecode.sh" "$home/bin/python" "$packages"
