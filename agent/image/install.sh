#!/bin/sh
# install.sh CONTEXT HOME: what the base image has besides its own base. Runs in it as root, without network where the
# base has Python 3.11 or newer.
#   HOME/env     the interpreter of DAGs: the base's python3, the packages of an environment that names none
#   HOME/agent   the agent's own: what authors install cannot break it
#   HOME/shim    what stands in for airflow on the path of tasks
#   HOME/dags    the code of the DAG, which its image brings
set -eu
context=$1 home=$2
export PIP_NO_INDEX=1 PIP_FIND_LINKS="$context/wheels" PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

of_dags=$(command -v python3) || { echo "install.sh: this base has no python3" >&2; exit 1; }
of_agent=$of_dags
if ! is_recent "$of_dags"; then
    apt-get update -q && apt-get install -y -q --no-install-recommends python3 python3-venv
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/log/*
    of_agent=/usr/bin/python3
    is_recent "$of_agent" || { echo "install.sh: the agent needs Python 3.11, and this base has none" >&2; exit 1; }
fi

install_packages() { # folder, interpreter, lock
    "$2" -m venv "$1"
    "$1/bin/python" -m pip install -q --no-compile --no-deps --require-hashes -r "$3"
}
install_packages "$home/env" "$of_dags" "$context/task-default.txt"
install_packages "$home/agent" "$of_agent" "$context/agent.txt"
packages=$("$home/agent/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$packages"/pip* "$packages"/setuptools* "$packages"/pkg_resources "$packages"/_distutils_hack "$packages"/distutils-precedence.pth
cp -R "$context/code/." "$packages"
cp -R "$context/shim" "$home/shim"
mkdir -p "$home/dags" /tmp

# For what asks for the name of its user.
grep -q '^[^:]*:[^:]*:50000:' /etc/passwd || echo 'leoflow:x:50000:50000:leoflow:/tmp:/usr/sbin/nologin' >> /etc/passwd
grep -q '^[^:]*:[^:]*:50000:' /etc/group || echo 'leoflow:x:50000:' >> /etc/group

install -m 755 "$context/bytecode.sh" "$home/bytecode.sh"
find "$home" -name __pycache__ -prune -exec rm -rf {} +
for python in "$of_dags" "$of_agent"; do
    "$home/bytecode.sh" "$python" "$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
done
"$home/bytecode.sh" "$home/agent/bin/python" "$packages"
"$home/bytecode.sh" "$home/env/bin/python" "$home/shim" "$packages/leoflow_agent/runner" \
    "$("$home/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
