# Sourced by the scripts that bring a program from PATH, or from Debian's packages, which
# are unpacked and not installed. Without either nothing is made.
set -euo pipefail

# give_up REASON ends the script, and nothing is made.
give_up() {
  echo "$tool: $1: going on without it"
  exit 0
}

# look_for TOOL PACKAGE TARGET ends the script if TARGET is there, or can be a link to what
# PATH has. Otherwise the current folder is a new one for apt-get to put packages into.
look_for() {
  tool=$1 target=$3
  [ -x "$target" ] && exit 0
  mkdir -p "$(dirname "$target")"
  if found=$(command -v "$tool"); then
    ln -sf "$found" "$target"
    exit 0
  fi
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || give_up "not in PATH and no apt-get here"
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  cd "$dir"
  apt-cache show "$2" >/dev/null 2>&1 || apt-get update -qq || true
}

# download PACKAGE... gets packages into the current folder.
download() {
  [ $# -gt 0 ] && apt-get download -qq "$@" >/dev/null 2>&1 || give_up "Debian's package cannot be had"
}
