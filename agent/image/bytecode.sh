#!/bin/sh
# bytecode.sh PYTHON FOLDER...: compiles what is there, for pods, which can write nothing beside their code. Python compares
# it with the source's hash, not with its time: of an image that is built twice all files get one time and the same bytes.
set -eu
python=$1
shift
# Never imported in a pod, and in parts no Python of this version.
unwanted='/(test|tests|idlelib|lib2to3|turtledemo|ensurepip|pip|setuptools|pkg_resources|node_modules)/'
PYTHONHASHSEED=0 "$python" -m compileall -q -x "$unwanted" --invalidation-mode checked-hash "$@"
