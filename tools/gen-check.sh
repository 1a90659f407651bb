#!/bin/sh
# Regenerates gen/ and fails when it differs from before. The result stays, ready to be committed.
set -eu
cd "$(dirname "$0")/.."
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -R gen "$before/gen"
./task gen
if ! diff -r --brief --exclude=dist --exclude=node_modules --exclude=__pycache__ --exclude=.mypy_cache "$before/gen" gen; then
	echo 'gen/ differs from what openapi.yaml generates; run ./task gen and commit the result' >&2
	exit 1
fi
