#!/usr/bin/env bash
# Usage: promtool.sh TARGET
# Makes TARGET a promtool: the one in PATH, or the one of Debian's package,
# unpacked and not installed. Without either nothing is made: tests that check
# metrics with it then rely on client_golang's linter, which has the same rules.
set -euo pipefail
target=$1
[ -x "$target" ] && exit 0
mkdir -p "$(dirname "$target")"
if found=$(command -v promtool); then
  ln -sf "$found" "$target"
  exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "promtool: not in PATH and no apt-get here: going on without it"
  exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-cache show prometheus >/dev/null 2>&1 || apt-get update -qq || true
if apt-get download -qq prometheus >/dev/null 2>&1; then
  dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
  mv usr/bin/promtool "$target"
else
  echo "promtool: Debian's package prometheus cannot be had: going on without it"
fi
