#!/bin/sh
# Append the checksum of every migration that is not pinned yet: `make pin-migrations`, part of a release. What is pinned
# never changes again (tests/house/test_repository.py), because databases out there have run it.
set -eu
cd "$(dirname "$0")/../migrations"
pinned=../locks/migrations.sha256
for file in [0-9][0-9][0-9][0-9]_*.sql; do
    grep -q "  $file\$" $pinned || sha256sum "$file" >>$pinned
done
