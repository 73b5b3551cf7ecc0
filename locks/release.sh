#!/bin/sh
# What a release consists of, into dist/: wheel, source, chart, SBOM, checksums and, with a key, their signature. The same
# commit gives the same bytes, whoever builds it and where. `make release KEY=~/.ssh/id_ed25519`; docs/release.md says how
# to verify. What is not committed is no part of it.
set -eu
key=${1:-}
parts=${PARTS:-wheel chart sbom}
cd "$(dirname "$0")/.."
here=$(pwd)
python=$here/.venv/bin/python

wanted() { case " $parts " in *" $1 "*) ;; *) return 1 ;; esac; }
say() { printf 'release: %s\n' "$*" >&2; }

if [ -n "$(git status --porcelain)" ]; then say "uncommitted changes are left out"; fi
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
umask 022
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
git archive --format=tar --prefix=source/ HEAD | tar -x -C "$scratch"
source=$scratch/source
version=$("$python" -c 'import tomllib, sys; print(tomllib.load(open(sys.argv[1], "rb"))["project"]["version"])' "$source/pyproject.toml")

rm -rf dist
mkdir dist
if wanted wheel; then
    say "wheel and source of $version, commit $(git rev-parse --short HEAD)"
    # Compilers of bytecode and the caller's settings have no part in it.
    (cd "$source" && env -i PATH="$PATH" HOME="$scratch" SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
        "$python" -m hatchling build -d "$here/dist" >/dev/null)
fi

if wanted chart; then
    say "chart"
    tar -C "$source/helm" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu \
        -cf - leoflow | gzip -9 -n >"dist/leoflow-chart-$version.tgz"
fi

if wanted sbom; then
    say "SBOM"
    locks/install-apart.sh release
    for set_name in lite daemon; do
        .cache/release/bin/cyclonedx-py requirements --output-reproducible --of JSON --pyproject pyproject.toml \
            -o "dist/leoflow-$version-$set_name.cdx.json" "$source/locks/$set_name.txt"
    done
fi

cd dist
sha256sum -- * >SHA256SUMS
if [ -n "$key" ]; then
    ssh-keygen -q -Y sign -f "$key" -n leoflow-release SHA256SUMS
    say "signed with $key"
    if command -v cosign >/dev/null && [ -n "${COSIGN_KEY:-}" ]; then
        cosign sign-blob --yes --key "$COSIGN_KEY" --output-signature SHA256SUMS.cosign SHA256SUMS
    fi
else
    say "not signed: name a key, make release KEY=FILE"
fi
cat SHA256SUMS
