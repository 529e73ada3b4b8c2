#!/bin/sh
# Patroni runs this on the replica that has won the leader lock, before it promotes
# it; any exit but 0 takes the lock away again (postgresql: pre_promote).
#
# It makes committed what the old primary may have acknowledged, waits until this
# server has replayed that, makes the walproposer's slot, and says yes only if a
# majority of the safekeepers says that this server may be promoted.
#
#   WALHAVEN_SAFEKEEPERS  connection string of the safekeepers, as a standby's
#                         primary_conninfo: host=a,b,c port=5454,5454,5454 user=...
#   WALHAVEN_CLUSTER      the cluster file (default: /etc/walhaven)
#   WALHAVEN_WAIT         seconds to wait for replay (default: 60)
#   WALHAVEN_SLOT         the walproposer's slot (default: walhaven)
#   WALHAVEN, PSQL        the programs; psql takes the local server from PGHOST etc.
#   PGCONNECT_TIMEOUT     seconds after which psql asks the next safekeeper (default: 5)
set -eu

: "${WALHAVEN:=walhaven}" "${PSQL:=psql}" "${WALHAVEN_CLUSTER:=/etc/walhaven}"
: "${WALHAVEN_WAIT:=60}" "${WALHAVEN_SLOT:=walhaven}"
# One that hangs takes connections all the same, and psql would wait for it for ever.
export PGCONNECT_TIMEOUT="${PGCONNECT_TIMEOUT:-5}"
: "${WALHAVEN_SAFEKEEPERS:?is not set: the connection string of the safekeepers}"

say() { echo "walhaven pre_promote: $*" >&2; }
local_sql() { "$PSQL" -X -A -t -q -v ON_ERROR_STOP=1 -d "${PGDATABASE:-postgres}" -c "$1"; }
ask() { "$PSQL" -X -A -t -q -v ON_ERROR_STOP=1 -d "$WALHAVEN_SAFEKEEPERS" -c "$1"; }

# Without this the first commits of the new primary would return by themselves.
names=$(local_sql 'SHOW synchronous_standby_names')
case $names in
walhaven | '"walhaven"' | 'FIRST 1 (walhaven)' | 'ANY 1 (walhaven)') ;;
*)
	say "synchronous_standby_names is '$names' and not walhaven: commits would return without the quorum"
	exit 1
	;;
esac

# Sessions wait when the checkpointer has told them that there is somebody to wait
# for. It has read names that the server was started with, or that were set before
# it became idle; of others it is certain when a CHECKPOINT has ended.
read=$(local_sql "SELECT pg_conf_load_time() <= pg_postmaster_start_time() OR clock_timestamp() > pg_conf_load_time() + CASE
	WHEN (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'checkpointer') = 'CheckpointerMain' THEN interval '1 minute'
	ELSE interval '1 hour' END")
if [ "$read" != t ]; then
	say "CHECKPOINT: synchronous_standby_names may have been set just now"
	local_sql CHECKPOINT || {
		say "it is not certain that commits would wait for the quorum"
		exit 1
	}
fi

end=$("$WALHAVEN" --cluster "$WALHAVEN_CLUSTER" failover --sync-only) || {
	say "the end of WAL cannot be settled: no majority of the safekeepers answers"
	exit 1
}
say "every acknowledged commit lies below $end"

# An old leader that follows again keeps its slot (ignore_slots), which may have
# lost its WAL meanwhile and never gets it back: no walproposer could start at it.
local_sql "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
	WHERE slot_name = '$WALHAVEN_SLOT' AND slot_type = 'physical' AND wal_status = 'lost'" >/dev/null
local_sql "SELECT pg_create_physical_replication_slot('$WALHAVEN_SLOT', true)
	WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$WALHAVEN_SLOT')" >/dev/null

waited=0
while :; do
	at=$(local_sql 'SELECT pg_last_wal_replay_lsn()')
	answer=$(ask "SAFE_TO_PROMOTE '$at'") || answer='f|||||no safekeeper answers'
	case $answer in
	t\|*)
		say "safe: this server has replayed up to $at"
		exit 0
		;;
	esac
	if [ "$waited" -ge "$WALHAVEN_WAIT" ]; then
		say "not safe at $at: $(echo "$answer" | cut -d '|' -f 5-)"
		exit 1
	fi
	waited=$((waited + 1))
	sleep 1
done
