package ingest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

func (b *rig) commit(xid uint32, at int64) wal.LSN {
	b.t.Helper()
	return b.take(walrecord.Record{RMID: walrecord.RmgrTransaction, XID: xid, MainData: put64(uint64(at))})
}

func allEvents(t testing.TB, tl *pagestore.Timeline, kind EventKind) (all []Event) {
	t.Helper()
	require.NoError(t, Events(t.Context(), tl, kind, 0, tl.LastLSN(), func(e Event) bool {
		all = append(all, e)
		return true
	}))
	return all
}

// A time leads to the newest sampled commit that is not later, and to the first
// that is; commits that are out of order, or close to the one before, are not in
// the index.
func TestLSNAtATime(t *testing.T) {
	const second = 1_000_000
	b := newRig(t, 15)
	a, err := LSNAt(t.Context(), b.tl, 5*second)
	require.NoError(t, err)
	require.Equal(t, TimeAnswer{}, a)

	ends := map[int64]wal.LSN{}
	for i := int64(1); i <= 50; i++ {
		ends[i] = b.commit(uint32(1000+i), i*second)
		b.commit(uint32(2000+i), i*second+10)     // Too close.
		b.commit(uint32(3000+i), i*second-second) // Late.
		if i == 25 {
			b.restart()
		}
	}
	require.Len(t, allEvents(t, b.tl, EventCommit), 50)
	for i := int64(1); i < 50; i++ {
		for _, at := range []int64{i * second, i*second + second - 1} {
			a, err = LSNAt(t.Context(), b.tl, wal.Timestamp(at))
			require.NoError(t, err)
			require.Equal(t, ends[i], a.Before.LSN, at)
			require.Equal(t, uint32(1000+i), a.Before.XID)
			require.Equal(t, ends[i+1], a.After.LSN, at)
		}
	}
	a, err = LSNAt(t.Context(), b.tl, second-1)
	require.NoError(t, err)
	require.Zero(t, a.Before.LSN)
	require.Equal(t, ends[1], a.After.LSN)
	a, err = LSNAt(t.Context(), b.tl, 100*second)
	require.NoError(t, err)
	require.Equal(t, ends[50], a.Before.LSN)
	require.Zero(t, a.After.LSN)

	w, err := WindowOf(t.Context(), b.tl, ends[10])
	require.NoError(t, err)
	require.Equal(t, ends[10], w.Oldest)
	require.Equal(t, b.tl.LastLSN(), w.Newest)
	require.Equal(t, ends[11], w.OldestCommit.LSN)
	require.Equal(t, ends[50], w.LastCommit.LSN)
}

func TestEventsOfRecords(t *testing.T) {
	b := newRig(t, 15)
	point := b.take(walrecord.Record{
		RMID: walrecord.RmgrXLOG, Info: xlogRestorePoint, MainData: join(put64(77), []byte("before the release"), make([]byte, 46)),
	})
	require.Equal(t, []Event{{Kind: EventRestorePoint, LSN: point, Time: 77, Name: "before the release"}}, allEvents(t, b.tl, EventRestorePoint))

	made := b.take(walrecord.Record{RMID: walrecord.RmgrStorage, Info: storageCreate | 1, XID: 70, MainData: join(relBytes(table), put32(0))})
	require.Equal(t, []Event{{Kind: EventCreate, LSN: made, XID: 70, Rels: []walrecord.RelFile{table}}}, allEvents(t, b.tl, EventCreate))
	require.Equal(t, 0, b.size(table, walrecord.ForkMain, made))

	cut := b.take(walrecord.Record{RMID: walrecord.RmgrStorage, Info: storageTruncate | 1, MainData: join(put32(0), relBytes(table), put32(7))})
	require.Equal(t, []Event{{Kind: EventCut, LSN: cut, Rels: []walrecord.RelFile{table}}}, allEvents(t, b.tl, EventCut))

	drop := b.take(walrecord.Record{
		RMID: walrecord.RmgrTransaction, Info: xactCommit | xactHasInfo, XID: 71,
		MainData: join(put64(99), put32(xinfoRelations, 2), relBytes(table), relBytes(other)),
	})
	require.Equal(t, []Event{{Kind: EventDrop, LSN: drop, XID: 71, Time: 99, Rels: []walrecord.RelFile{table, other}}}, allEvents(t, b.tl, EventDrop))

	gone := b.take(walrecord.Record{
		RMID: walrecord.RmgrHeap, Info: heapTruncate, XID: 72, MainData: join(put32(5, 2), []byte{0, 0, 0, 0}, put32(2000, 2001)),
	})
	require.Equal(t, []Event{{Kind: EventTruncate, LSN: gone, XID: 72, Time: 99, Rels: []walrecord.RelFile{
		{Database: 5, Relation: 2000}, {Database: 5, Relation: 2001},
	}}}, allEvents(t, b.tl, EventTruncate))

	two := b.take(walrecord.Record{RMID: walrecord.RmgrDatabase, Info: databaseDrop, XID: 73, MainData: put32(9, 2, 1663, 16400)})
	dropped := allEvents(t, b.tl, EventDatabaseDropped)
	require.Len(t, dropped, 2)
	require.Equal(t, two, dropped[1].LSN)
	require.Equal(t, []walrecord.RelFile{{Tablespace: 16400, Database: 9}}, dropped[1].Rels)

	line := b.take(walrecord.Record{RMID: walrecord.RmgrXLOG, Info: xlogEndOfRecovery, MainData: join(put64(123), put32(3, 2))})
	require.Equal(t, []Event{{Kind: EventTimeline, LSN: line, Time: 123, Numbers: [2]uint64{3, 2}}}, allEvents(t, b.tl, EventTimeline))
	require.EqualValues(t, 3, b.in.state.u32(checkpointTLI))
}
