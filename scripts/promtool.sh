#!/usr/bin/env bash
# Usage: promtool.sh TARGET
# Makes TARGET a promtool: the one in PATH, or the one of Debian's package,
# unpacked and not installed. Without either nothing is made: tests that check
# metrics with it then rely on client_golang's linter, which has the same rules.
. "$(dirname "$0")/debian.sh"
look_for promtool prometheus "$1"
download prometheus
dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
mv usr/bin/promtool "$target"
