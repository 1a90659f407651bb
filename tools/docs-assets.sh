#!/bin/sh
# Rebuilds the third-party part of server/docs from the npm registry and checks it against SHA256SUMS.
# To take a newer version: change it here with its integrity, run this, look at the pages, and commit the new sums.
set -eu
cd "$(dirname "$0")/../server/docs"
swagger=5.35.0
swagger_integrity=sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ==
redoc=3.0.1
redoc_integrity=sha512-KDfoKaYW19LCl4YStgBnwlaNjYEFfs5zCNt1s1WZ2YM5u8d26Yuzd2l43fZO851ZsgIMe/D640fDJkD8eaRQKQ==

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# fetch NAME VERSION INTEGRITY unpacks an npm package into $tmp/NAME.
fetch() {
	(cd "$tmp" && npm pack --silent "$1@$2" >/dev/null)
	got=sha512-$(openssl dgst -sha512 -binary "$tmp/$1-$2.tgz" | openssl base64 -A)
	[ "$got" = "$3" ] || { echo "docs: $1 $2 is not what it was: $got" >&2; exit 1; }
	mkdir "$tmp/$1"
	tar -xzf "$tmp/$1-$2.tgz" -C "$tmp/$1" --strip-components=1
}

fetch swagger-ui-dist $swagger $swagger_integrity
fetch redoc $redoc $redoc_integrity

rm -f ./*.gz LICENSE.* NOTICE.*
gzip -9nc "$tmp/swagger-ui-dist/swagger-ui-bundle.js" >swagger-ui-$swagger.js.gz
gzip -9nc "$tmp/swagger-ui-dist/swagger-ui.css" >swagger-ui-$swagger.css.gz
# Two things of Redoc go against our content security policy: a logo from elsewhere, and a search worker made by eval. Without
# them it shows no logo and searches in the page.
sed -e 's#https://cdn\.redoc\.ly/redoc/logo-mini\(-full\)\{0,1\}\.svg#data:,#g' -e 's#return [a-z]\._factory??=Function([A-Za-z0-9]*),!0#return!1#' \
	"$tmp/redoc/bundles/redoc.standalone.js" | gzip -9nc >redoc-$redoc.js.gz
cp "$tmp/swagger-ui-dist/LICENSE" LICENSE.swagger-ui.txt
cp "$tmp/swagger-ui-dist/NOTICE" NOTICE.swagger-ui.txt
cp "$tmp/swagger-ui-dist/swagger-ui-bundle.js.LICENSE.txt" LICENSE.swagger-ui-bundle.txt
cp "$tmp/redoc/LICENSE" LICENSE.redoc.txt

# The sums are of the contents: another gzip may pack the same bytes differently.
for f in *.gz LICENSE.* NOTICE.*; do
	case $f in
	*.gz) printf '%s  %s\n' "$(gunzip -c "$f" | sha256sum | cut -d' ' -f1)" "${f%.gz}" ;;
	*) sha256sum "$f" ;;
	esac
done >"$tmp/SHA256SUMS"
if [ "${1:-}" = --update ]; then
	cp "$tmp/SHA256SUMS" SHA256SUMS
elif ! diff -u SHA256SUMS "$tmp/SHA256SUMS"; then
	echo "docs: these are not the assets of SHA256SUMS; when that is meant, run ./task docs:assets -- --update" >&2
	exit 1
fi
