#!/usr/bin/env bash
# Usage: fio.sh TARGET
# Makes TARGET run fio: the one in PATH, or the one of Debian's package, unpacked
# with what it lacks of libraries beside TARGET and not installed. Without either
# nothing is made, and bench/keepers goes without its row.
. "$(dirname "$0")/debian.sh"
look_for fio fio "$1"
mapfile -t packages < <(apt-get install -qq --print-uris --no-install-recommends fio 2>/dev/null | awk '{print $2}' | cut -d_ -f1)
download "${packages[@]}"
tree=$target.tree
rm -rf "$tree" && mkdir -p "$tree"
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$tree"
done
libraries=$(find "$tree" -name '*.so*' -printf '%h\n' | sort -u | paste -sd:)
printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s/usr/bin/fio "$@"\n' "$libraries" "$tree" >"$target"
chmod +x "$target"
"$target" --version >/dev/null 2>&1 || { rm -f "$target"; give_up "the one of Debian's package does not start"; }
