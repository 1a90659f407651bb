#!/bin/sh
# Regenerates gen/ and client/ and fails when they differ from before. The result stays, ready to be committed.
set -eu
cd "$(dirname "$0")/.."
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -R gen client "$before"
./task gen
if ! diff -r --brief --exclude=dist --exclude=node_modules --exclude=__pycache__ --exclude=.mypy_cache "$before/gen" gen ||
	! diff -r --brief "$before/client" client; then
	echo 'gen/ or client/ differs from what openapi.yaml generates; run ./task gen and commit the result' >&2
	exit 1
fi
