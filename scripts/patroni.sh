#!/usr/bin/env bash
# Usage: patroni.sh TARGET
# Makes TARGET/bin/patroni, in a Python environment of its own. The system's Python
# is taken before any other: PostgreSQL's account has to be able to run it. Where
# it cannot be had nothing is made, and the message says why.
set -euo pipefail
target=$1
[ -x "$target/bin/patroni" ] && exit 0
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || {
  echo "patroni: no python3 here: going on without it"
  exit 0
}
rm -rf "$target"
what=('patroni[raft]==4.1.5' 'psycopg[binary]')
if "$python" -m venv "$target" 2>/dev/null; then
  pip=("$target/bin/python3" -m pip)
else
  # Debian's python3 comes without ensurepip; any pip will do.
  rm -rf "$target"
  "$python" -m venv --without-pip "$target"
  pip=(python3 -m pip --python "$target/bin/python3")
fi
if ! "${pip[@]}" install -q --disable-pip-version-check "${what[@]}"; then
  rm -rf "$target"
  echo "patroni: pip cannot bring it: going on without it"
fi
