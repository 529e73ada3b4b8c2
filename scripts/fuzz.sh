#!/usr/bin/env bash
# Usage: fuzz.sh EXECS [CAP_SECONDS] [PATTERN]
# Runs each fuzz target on EXECS inputs. A number of inputs rather than a time:
# until Go 1.27 the end of a time limit can itself be reported as a failure,
# "context deadline exceeded" (go.dev/issue/75804). With a cap other than 0 no further target is
# begun once that many seconds have passed; which come first then changes from day
# to day, so that all have their turn, and what was left out is named.
set -euo pipefail
cd "$(dirname "$0")/.."
execs=$1 cap=${2:-0} pattern=${3:-}

# One line a target: package and name. Compiling tests only to list them would
# take longer than reading them.
mapfile -t targets < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . |
  sed -E 's|^(\./.*)/[^/]*_test\.go:func (Fuzz.*)$|\1 \2|' | grep -E -- "${pattern:-.}" | sort -u)
if [ ${#targets[@]} -eq 0 ]; then
  echo "no fuzz targets match '${pattern}'"
  exit 0
fi
turn=$(($(date +%s) / 86400 % ${#targets[@]}))
[ "$cap" -eq 0 ] && turn=0
start=$SECONDS
skipped=()
for i in "${!targets[@]}"; do
  read -r package name <<<"${targets[$(((i + turn) % ${#targets[@]}))]}"
  if [ "$cap" -ne 0 ] && [ $((SECONDS - start)) -ge "$cap" ]; then
    skipped+=("$package.$name")
    continue
  fi
  echo "fuzz $package.$name, $execs inputs"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "${execs}x" -fuzzminimizetime 1000x -parallel 2 "$package" |
    grep -Ev '^fuzz: elapsed|^PASS$' || exit 1
done
[ ${#skipped[@]} -eq 0 ] || echo "fuzz: cap of $cap s reached; not today: ${skipped[*]}"
