#!/bin/sh
# What the browser tests need: Node, Chromium, Firefox with H.264, and the packages of tests/web/package.json.
set -eu
cd "$(dirname "$0")/.."

missing=""
have() { command -v "$1" >/dev/null 2>&1; }
have node || missing="$missing nodejs"
have npm || missing="$missing npm"
have chromium || missing="$missing chromium"
have firefox-esr || have firefox || missing="$missing firefox-esr"
# Firefox decodes H.264 by the system's libavcodec; its package is named after its version.
if ! ldconfig -p 2>/dev/null | grep -q 'libavcodec\.so'; then
	avcodec=$(apt-cache pkgnames libavcodec 2>/dev/null | grep -E '^libavcodec[0-9]+$' | sort -V | tail -n 1 || true)
	missing="$missing ${avcodec:-libavcodec}"
fi

if [ -n "$missing" ]; then
	if [ "$(id -u)" != 0 ] || ! have apt-get; then
		echo "the browser tests need these packages, which only root can install:$missing" >&2
		echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
		echo "then run make again (or leave the browsers out: pytest --ignore=tests/web)" >&2
		exit 1
	fi
	echo "installing for the browser tests:$missing"
	apt-get -qq update || { echo "apt-get update failed: is there a network?" >&2; exit 1; }
	# A package list that was empty until now did not know libavcodec's version.
	case "$missing" in *" libavcodec")
		missing="${missing% libavcodec} $(apt-cache pkgnames libavcodec | grep -E '^libavcodec[0-9]+$' | sort -V | tail -n 1)" ;;
	esac
	DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi

if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then
	echo "the browser tests need Node 18 or newer; this is $(node --version)" >&2
	exit 1
fi
cd tests/web
npm install --no-audit --no-fund --no-package-lock --loglevel=error
