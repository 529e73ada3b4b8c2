package pageserver

import (
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/redo/page"
)

// settled makes relations that come with the base and change no more.
const settled = `CREATE TABLE settled (i int, v text); INSERT INTO settled SELECT i, repeat('s', 200) FROM generate_series(1, 500) i;
DELETE FROM settled WHERE i % 3 = 0; CREATE UNLOGGED TABLE settled_unlogged (i int PRIMARY KEY)`

// forkWork makes relations whose forks come with WAL, and tells where they and the
// settled ones are.
func forkWork(t testing.TB, server *compute.Server) map[string]string {
	t.Helper()
	ctx := context.Background()
	_, err := server.Psql(ctx,
		"-c", "CREATE TABLE worked (i int, v text); INSERT INTO worked SELECT i, repeat('w', 200) FROM generate_series(1, 500) i",
		"-c", "VACUUM (FREEZE) worked",
		"-c", "UPDATE worked SET v = 'moved' WHERE i = 1", // Clears bits of the map, of its first page and of its last.
		"-c", "CREATE UNLOGGED TABLE worked_unlogged (i int PRIMARY KEY)")
	require.NoError(t, err)
	rows, err := server.Query(ctx, `SELECT relname, '1663/' || d.oid || '/' || pg_relation_filenode(c.oid)
		FROM pg_class c, pg_database d WHERE datname = current_database() AND (relname LIKE 'settled%' OR relname LIKE 'worked%')`)
	require.NoError(t, err)
	forked := map[string]string{}
	for _, row := range rows {
		forked[row[0]] = row[1]
	}
	require.Len(t, forked, 6)
	return forked
}

// Each fork's pages are those of the file of that fork which PostgreSQL left
// behind: those that came with the base, and those that came with WAL.
func forksAreShown(t *testing.T, o *origin) {
	n := readyNode(t, o)
	for _, c := range []struct {
		relation, fork string
		blocks         int
		mask           page.Mask // of what is not in WAL
	}{
		{relation: "settled", fork: "main", blocks: 10},
		{relation: "settled", fork: "fsm", blocks: 3},
		{relation: "settled", fork: "vm", blocks: 1},
		{relation: "settled_unlogged_pkey", fork: "init", blocks: 1},
		{"worked", "main", 10, page.MaskHeap},
		{"worked", "vm", 1, page.MaskVisibilityMap},
		{"worked_unlogged_pkey", "init", 1, page.MaskBtree},
	} {
		n.requireFork(c.relation, c.fork, c.blocks, c.mask)
	}
	require.NotEqual(t, n.forkPage("settled", "fsm", 2), n.forkPage("settled", "main", 2))

	ask := func(relation, fork, at string) error {
		_, err := n.query("SHOW PAGE '" + o.forked[relation] + "' FORK " + fork + " BLOCK 0" + at)
		return err
	}
	require.Equal(t, protocol.CodeUndefinedTable, protocol.SQLState(ask("worked", "vm", " AT LSN '"+o.redo.String()+"'")), "it was made later")
	require.Equal(t, protocol.CodeUndefinedTable, protocol.SQLState(ask("settled", "init", "")), "it is not unlogged")
	err := ask("settled", "toast", "")
	require.Equal(t, protocol.CodeInvalidParameter, protocol.SQLState(err))
	require.ErrorContains(t, err, `there is no fork "toast"`)
}

// requireFork compares a fork's first blocks with the file, but for the checksum,
// which is as in the WAL, and what is masked.
func (n *node) requireFork(relation, fork string, blocks int, mask page.Mask) {
	n.t.Helper()
	parts := strings.Split(n.o.forked[relation], "/")
	name := parts[2]
	if fork != "main" {
		name += "_" + fork
	}
	file, err := os.ReadFile(filepath.Join(n.o.last, "base", parts[1], name))
	require.NoError(n.t, err)
	require.GreaterOrEqual(n.t, len(file), blocks*page.Size, "%s %s", relation, fork)
	for block := range blocks {
		theirs, ours := page.Page(file[block*page.Size:][:page.Size]), n.forkPage(relation, fork, block)
		require.False(n.t, ours.IsNew(), "%s %s block %d says nothing", relation, fork, block)
		for _, p := range []*page.Page{&theirs, &ours} {
			clear(p[8:10])
			if mask != nil {
				mask(p, uint32(block), fork == "vm")
			}
		}
		for i := range ours {
			if ours[i] != theirs[i] {
				require.Equal(n.t, theirs[i], ours[i], "%s %s block %d byte %d", relation, fork, block, i)
			}
		}
	}
}

// forkPage is a page of a fork at the end of WAL.
func (n *node) forkPage(relation, fork string, block int) page.Page {
	n.t.Helper()
	rows, err := n.query("SHOW PAGE '" + n.o.forked[relation] + "' FORK " + fork + " BLOCK " + strconv.Itoa(block) +
		" AT LSN '" + n.o.end.String() + "'")
	require.NoError(n.t, err, "%s %s", relation, fork)
	require.Len(n.t, rows, 1)
	ours, err := hex.DecodeString(strings.TrimPrefix(rows[0]["page"], `\x`))
	require.NoError(n.t, err)
	require.Len(n.t, ours, page.Size)
	return page.Page(ours)
}
