#!/usr/bin/env bash
# Usage: fio.sh TARGET
# Makes TARGET run fio: the one in PATH, or the one of Debian's package, unpacked
# with what it lacks of libraries beside TARGET and not installed. Without either
# nothing is made, and bench/keepers goes without its row.
set -euo pipefail
target=$1
[ -x "$target" ] && exit 0
mkdir -p "$(dirname "$target")"
if found=$(command -v fio); then
  ln -sf "$found" "$target"
  exit 0
fi
give_up() {
  echo "fio: $1: going on without it"
  exit 0
}
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || give_up "not in PATH and no apt-get here"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-cache show fio >/dev/null 2>&1 || apt-get update -qq || true
mapfile -t packages < <(apt-get install -qq --print-uris --no-install-recommends fio 2>/dev/null | awk '{print $2}' | cut -d_ -f1)
[ ${#packages[@]} -gt 0 ] && apt-get download -qq "${packages[@]}" >/dev/null 2>&1 || give_up "Debian's package cannot be had"
tree=$target.tree
rm -rf "$tree" && mkdir -p "$tree"
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree"
done
libraries=$(find "$tree" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/usr/bin/fio "$@"\n' "$libraries" "$tree" >"$target"
chmod +x "$target"
"$target" --version >/dev/null 2>&1 || { rm -f "$target"; give_up "the one of Debian's package does not start"; }
