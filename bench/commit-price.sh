#!/usr/bin/env bash
# What a commit costs with the quorum and without, on this machine: a cluster as
# `walhaven up` makes it, one-row INSERTs by pgbench, both ways in turn, so that
# drift of the machine hits both. Prints medians over the rounds as a Markdown
# table. All of it is on one disk, which separate machines would not share.
#
#   bench/commit-price.sh [-t SECONDS] [-r ROUNDS] [-c "1 4 16"]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=10 rounds=3 clients="1 4 16"
while getopts t:r:c: o; do
  case $o in
    t) seconds=$OPTARG ;;
    r) rounds=$OPTARG ;;
    c) clients=$OPTARG ;;
    *) exit 2 ;;
  esac
done

work=$(mktemp -d "${TMPDIR:-/tmp}/walhaven-price-XXXXXX")
chmod 755 "$work"
trap 'bin/walhaven down --dir "$work/c" --purge --yes >/dev/null 2>&1; rm -rf "$work"' EXIT
bin/walhaven up --detach --bench 0 --dir "$work/c" >"$work/up.log" || { cat "$work/up.log"; exit 1; }

conninfo=$(bin/walhaven status --dir "$work/c" -o json | sed -n 's/.*"conninfo": "\(.*\)",*/\1/p')
bindir=$(sed -n "s/^bin_dir = '\(.*\)'/\1/p" "$work/c/cluster.toml")
tool() { local t=$bindir/$1; [ -x "$t" ] || t=$1; shift; "$t" "$@"; }
sql() { tool psql -XAtq -v ON_ERROR_STOP=1 "$conninfo" -c "$1"; }

sql "CREATE TABLE tiny (id bigserial PRIMARY KEY, pad text)" >/dev/null
echo "INSERT INTO tiny (pad) VALUES (repeat('x', 60));" >"$work/tiny.sql"

measure() { # clients -> "tps latency"
  tool pgbench -n -f "$work/tiny.sql" -c "$1" -j "$(($1 < 2 ? 1 : 2))" -T "$seconds" "$conninfo" |
    awk '/^latency average/ {l = $4} /^tps/ {t = $3} END {print t, l}'
}
for round in $(seq "$rounds"); do
  for names in "" walhaven; do
    sql "ALTER SYSTEM SET synchronous_standby_names = '$names'" >/dev/null
    sql "SELECT pg_reload_conf()" >/dev/null
    for c in $clients; do
      echo "${names:-alone} $c $(measure "$c")"
    done
  done
done >"$work/raw"

echo "| clients | PostgreSQL alone: commits/s, mean latency | with the quorum | ratio of latency |"
echo "|---|---|---|---|"
for c in $clients; do
  median() { awk -v n="$1" -v c="$c" -v f="$2" '$1 == n && $2 == c {print $f}' "$work/raw" | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
  awk -v c="$c" -v at="$(median alone 3)" -v al="$(median alone 4)" -v wt="$(median walhaven 3)" -v wl="$(median walhaven 4)" \
    'BEGIN {printf "| %d | %.0f, %.2f ms | %.0f, %.2f ms | %.2f |\n", c, at, al, wt, wl, wl / al}'
done
