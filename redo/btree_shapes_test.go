package redo

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// TestOracleOfIndexShapes is the oracle over forms of index records that hardly
// any workload makes. PG=17 and so on choose the server.
func TestOracleOfIndexShapes(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server := computetest.New(t, computetest.Options{Settings: map[string]string{
		"wal_consistency_checking": "btree, hash, spgist", "wal_keep_size": "4GB", "max_wal_size": "4GB",
		"synchronous_commit": "off", "wal_compression": "on",
	}})
	begin := redoPointer(t, ctx, server)
	computetest.RunScript(t, server, "testdata/index_shapes.sql")
	require.NoError(t, server.Stop(ctx, compute.Fast))

	compared := map[string]int{}
	k := newOracle(Options{})
	k.apply = func(p *page.Page, r *walrecord.Record, index int, o Options) error {
		b := &r.Blocks[index]
		if s := indexShape(r); s != "" && b.HasImage && !b.Image.Apply {
			compared[fmt.Sprintf("%s, block %d", s, b.ID)]++
		}
		return Apply(p, r, index, o)
	}
	readFolder(t, filepath.Join(server.DataDir(), "pg_wal"), begin, func(r *walrecord.Record, _ []byte) { k.record(r) })
	for _, f := range k.failures {
		t.Error(f)
	}
	for _, s := range []string{
		"Btree/VACUUM shortens, block 0",
		"Hash/INIT_META_PAGE with phases, block 0",
		"Hash/DELETE of marked, block 1",
		"SPGist/ADD_LEAF for a dead one, block 0",
		"SPGist/ADD_NODE moves, parent 0, block 0", "SPGist/ADD_NODE moves, parent 0, block 1",
		"SPGist/ADD_NODE moves, parent 2, block 0", "SPGist/ADD_NODE moves, parent 2, block 1", "SPGist/ADD_NODE moves, parent 2, block 2",
		"SPGist/SPLIT_TUPLE elsewhere, block 0", "SPGist/SPLIT_TUPLE elsewhere, block 1",
	} {
		t.Logf("%6d %s", compared[s], s)
		require.NotZero(t, compared[s], s)
	}
}

// indexShape names the rarer forms of records.
func indexShape(r *walrecord.Record) string {
	m := walrecord.NewCursor(r.MainData)
	switch {
	case r.RMID == walrecord.RmgrBtree && r.Op() == btreeVacuum:
		if m.Skip(2); m.U16() > 0 {
			return "Btree/VACUUM shortens"
		}
	case r.RMID == walrecord.RmgrHash && r.Op() == hashInitMetaPage && len(r.MainData) >= 14:
		tuples := math.Float64frombits(m.U64())
		m.Skip(4)
		if tuples/float64(m.U16()) > 1<<hashSinglePhases/2 {
			return "Hash/INIT_META_PAGE with phases"
		}
	case r.RMID == walrecord.RmgrHash && r.Op() == hashDelete && m.U8() != 0:
		return "Hash/DELETE of marked"
	case r.RMID == walrecord.RmgrSPGist && r.Op() == spgistAddLeaf:
		m.Skip(2)
		if place, head := m.U16(), m.U16(); place == head {
			return "SPGist/ADD_LEAF for a dead one"
		}
	case r.RMID == walrecord.RmgrSPGist && r.Op() == spgistAddNode && len(r.Blocks) > 1:
		m.Skip(5)
		return fmt.Sprintf("SPGist/ADD_NODE moves, parent %d", m.U8())
	case r.RMID == walrecord.RmgrSPGist && r.Op() == spgistSplitTuple && len(r.Blocks) > 1:
		return "SPGist/SPLIT_TUPLE elsewhere"
	}
	return ""
}
