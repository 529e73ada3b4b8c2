package safekeeper_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

// An interval is on disk when RECORD INTERVAL has answered, and what is no interval
// changes nothing.
func TestIntervalsAreKept(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	require.Empty(t, sk.mustQuery("SHOW INTERVALS"))
	began := "RECORD INTERVAL (began '2026-03-01T10:42:04.5Z', after '2026-03-01T10:41:59Z', from_lsn '0/7014630', to_lsn '0/0', reason 'it''s local')"
	sk.mustQuery(began)
	sk.mustQuery(began)
	want := replication.Row{"began": "2026-03-01T10:42:04.5Z", "after": "2026-03-01T10:41:59Z", "from_lsn": "0/7014630", "to_lsn": "0/0", "reason": "it's local"}
	require.Equal(t, []replication.Row{want}, sk.mustQuery("SHOW INTERVALS"))
	sk.restart()
	require.Equal(t, []replication.Row{want}, sk.mustQuery("SHOW INTERVALS"), "it is on disk")

	want["ended"], want["to_lsn"] = "2026-03-01T10:43:00Z", "0/8000000"
	ended := "RECORD INTERVAL (began '2026-03-01T10:42:04.5Z', after '2026-03-01T10:41:59Z', ended '2026-03-01T10:43:00Z', from_lsn '0/7014630', to_lsn '0/8000000', reason 'it''s local')"
	sk.mustQuery(ended)
	sk.mustQuery(began) // from somebody who has not heard of its end
	require.Equal(t, []replication.Row{want}, sk.mustQuery("SHOW INTERVALS"))
	for _, bad := range []string{
		"RECORD INTERVAL (from_lsn '0/1', to_lsn '0/0', reason 'x')",
		"RECORD INTERVAL (began 'yesterday', from_lsn '0/1', to_lsn '0/0', reason 'x')",
		"RECORD INTERVAL (began '2026-03-01T10:42:04.5Z', from_lsn '0/1', to_lsn '0/0', reason 'x', other 'y')",
	} {
		_, err := sk.query(bad)
		require.Error(t, err, bad)
	}
	require.Len(t, sk.mustQuery("SHOW INTERVALS"), 1)
}
