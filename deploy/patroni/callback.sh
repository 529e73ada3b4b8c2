#!/bin/sh
# Patroni's callback for on_start, on_stop and on_role_change: the walproposer runs
# beside the primary and nowhere else. Patroni appends: action role cluster.
set -eu

: "${WALHAVEN_UNIT:=walhaven-walproposer}" "${SYSTEMCTL:=systemctl}"

case "${1:-} ${2:-}" in
"on_start primary" | "on_start master" | "on_role_change primary" | "on_role_change master")
	exec "$SYSTEMCTL" start "$WALHAVEN_UNIT"
	;;
"on_stop "* | "on_role_change "* | "on_start "*)
	exec "$SYSTEMCTL" stop "$WALHAVEN_UNIT"
	;;
esac
