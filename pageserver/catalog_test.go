package pageserver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// snapshot is pg_class as a server saw it at an LSN.
type snapshot struct {
	lsn  wal.LSN
	rows [][]string // OID, name, schema, relkind, is temporary, tablespace, filenode
}

const snapshotQuery = `SELECT c.oid, relname, nspname, relkind, relpersistence = 't',
	CASE WHEN relkind IN ('v', 'c', 'f', 'p', 'I') THEN 0 WHEN reltablespace = 0 THEN 1663 ELSE reltablespace END, coalesce(pg_relation_filenode(c.oid), 0)
	FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace ORDER BY 1`

// manyTables makes and drops tables in great number, so that the indexes of the
// catalogs split, are cleaned and get lists of TIDs.
func manyTables(t *testing.T, server *compute.Server) (snapshots []snapshot) {
	ctx := context.Background()
	exec := func(sql string) {
		t.Helper()
		_, err := server.Psql(ctx, "-c", sql)
		require.NoError(t, err, sql)
	}
	take := func() {
		t.Helper()
		rows, err := server.Query(ctx, snapshotQuery)
		require.NoError(t, err)
		text, err := server.QueryValue(ctx, "SELECT pg_current_wal_insert_lsn()")
		require.NoError(t, err)
		lsn, err := wal.ParseLSN(text)
		require.NoError(t, err)
		snapshots = append(snapshots, snapshot{lsn, rows})
	}
	loop := func(from, to int, format, end string) {
		exec(fmt.Sprintf("DO $$ BEGIN FOR i IN %d..%d LOOP EXECUTE format('%s', i); %s END LOOP; END $$", from, to, format, end))
	}
	const together, alone = "", "COMMIT;"
	take()
	exec("CREATE SCHEMA many")
	loop(1, 300, "CREATE TABLE many.t_%s (i int, v text)", together)
	take()
	loop(1, 300, "COMMENT ON TABLE many.t_%1$s IS ''x''; ALTER TABLE many.t_%1$s RENAME TO u_%1$s", together)
	take()
	loop(50, 200, "DROP TABLE many.u_%s", alone)
	exec("VACUUM pg_class")
	take()
	loop(201, 300, "ALTER TABLE many.u_%1$s ADD w int", alone)
	take()
	exec("VACUUM FULL pg_class")
	exec("REINDEX TABLE pg_namespace")
	exec("CREATE TEMP TABLE fleeting (i int); DROP TABLE fleeting")
	take()
	loop(201, 300, "ALTER TABLE many.u_%1$s DROP v; DROP TABLE many.u_%1$s", together)
	take()
	return snapshots
}

// What the catalogs are said to have had, by their indexes, is what the server
// said then; and a drop of hundreds among hundreds is found without reading all.
func TestCatalogsOfThePast(t *testing.T) {
	var snapshots []snapshot
	n := readyNode(t, newOriginOf(t, func(server *compute.Server) { snapshots = manyTables(t, server) }))
	var db uint32
	_, err := fmt.Sscanf(n.o.relid, "1663/%d/", &db)
	require.NoError(t, err)
	reader, err := n.timeline.pages.use()
	require.NoError(t, err)
	for _, s := range snapshots {
		at, err := reader.Exactly(t.Context(), s.lsn)
		require.NoError(t, err)
		catalog, err := reader.Catalog(t.Context(), db, at)
		require.NoError(t, err)
		for _, row := range s.rows {
			require.Equal(t, strings.Join(row, " "), described(t, catalog, row[0]), "at %s", s.lsn)
		}
		_, ok, err := catalog.Class(t.Context(), 1<<31)
		require.NoError(t, err)
		require.False(t, ok)
	}
	began := time.Now()
	rows, err := replication.Query(t.Context(), n.conninfo(), "FIND 'drop' NAMED 'many.*' LIMIT 1000", replication.DialOptions{Timeout: patience})
	require.NoError(t, err)
	require.Len(t, rows, 251)
	t.Logf("%d drops found in %s", len(rows), time.Since(began))
	rows, err = n.query("FIND 'drop' NAMED 'fleeting'")
	require.NoError(t, err)
	require.Empty(t, rows, "nothing of it is in WAL")
}

// described says what the catalog has of a relation, as snapshotQuery does.
func described(t *testing.T, catalog *pageread.Catalog, oid string) string {
	t.Helper()
	var number uint32
	_, err := fmt.Sscan(oid, &number)
	require.NoError(t, err)
	c, ok, err := catalog.Class(t.Context(), number)
	require.NoError(t, err)
	require.True(t, ok, oid)
	schema, err := catalog.Schema(t.Context(), c.Namespace)
	require.NoError(t, err)
	space := c.File.Tablespace
	if c.File.Relation == 0 {
		space = 0
	} else {
		again, ok, err := catalog.ClassOf(t.Context(), c.File)
		require.NoError(t, err)
		if ok { // Mapped ones have no file in their row.
			require.Equal(t, c, again)
		}
	}
	return fmt.Sprintf("%d %s %s %c %s %d %d", c.OID, c.Name, schema, c.Kind, map[bool]string{true: "t", false: "f"}[c.Temporary], space, c.File.Relation)
}
