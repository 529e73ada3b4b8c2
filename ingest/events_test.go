package ingest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/pgdata"
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

// A time leads to the last commit before the first one that is later, also where
// commits are out of order, within lists and between them.
func TestLSNAtATime(t *testing.T) {
	b := newRig(t, 15)
	a, err := LSNAt(t.Context(), b.tl, 5)
	require.NoError(t, err)
	require.Equal(t, TimeAnswer{}, a)

	random := rand.New(rand.NewPCG(1, 2))
	var all []Commit
	for i := range 400 {
		c := Commit{Time: wal.Timestamp(1_000_000 + i*10 + random.IntN(40)), XID: uint32(1000 + random.IntN(5000))}
		if i%7 != 0 { // It stays for the list of a later batch.
			b.in.commits = append(b.in.commits, Commit{LSN: b.tl.LastLSN() + wal.LSN(len(b.in.commits)) + 1, Time: c.Time, XID: c.XID})
			c.LSN = b.in.commits[len(b.in.commits)-1].LSN
			b.in.state.commitTime = max(b.in.state.commitTime, c.Time)
		} else {
			c.LSN = b.commit(c.XID, int64(c.Time))
		}
		all = append(all, c)
		if i%77 == 0 {
			b.restart()
		}
	}
	b.take(walrecord.Record{RMID: walrecord.RmgrXLOG, Info: xlogRestorePoint, MainData: join(put64(77), []byte("x"), make([]byte, 63))})
	lists := allEvents(t, b.tl, EventCommit)
	require.Greater(t, len(lists), 50)
	var known []Commit
	for _, l := range lists {
		known = append(known, l.Commits...)
	}
	require.Equal(t, all, known)
	for at := wal.Timestamp(999_990); at < 1_004_100; at++ {
		var want TimeAnswer
		for _, c := range all {
			if c.Time > at {
				want.After = c
				break
			}
			want.Before = c
		}
		a, err = LSNAt(t.Context(), b.tl, at)
		require.NoError(t, err)
		require.Equal(t, want, a, at)
	}
	var highest wal.Timestamp
	for i, c := range all[:len(all)-1] {
		highest = max(highest, c.Time)
		for _, lsn := range []wal.LSN{c.LSN, all[i+1].LSN - 1} {
			got, most, found, err := CommitsUpTo(t.Context(), b.tl, lsn)
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, c, got)
			require.Equal(t, highest, most)
		}
	}
	w, err := WindowOf(t.Context(), b.tl, all[10].LSN)
	require.NoError(t, err)
	require.Equal(t, Window{
		Oldest: all[10].LSN, Newest: b.tl.LastLSN(), From: highestOf(all[:11]), First: all[11], Last: all[len(all)-1],
	}, w)
}

func highestOf(commits []Commit) (t wal.Timestamp) {
	for _, c := range commits {
		t = max(t, c.Time)
	}
	return t
}

// A commit says which relations it changed, once each and in order, in as many
// events as it takes; so it does with the files that it removed.
func TestEventsOfLargeCommits(t *testing.T) {
	b := newRig(t, 15)
	const relations = 9000
	var files, messages []byte
	for i := range uint32(relations) {
		files = append(files, put32(1663, 5, 16384+i)...)
		for range 2 {
			messages = append(messages, put32(0xFE, 5, 16384+relations-1-i, 0)...)
		}
		messages = append(messages, put32(0xFE, 0, 1262, 0)...) // shared
		messages = append(messages, put32(54, 5, i, 0)...)      // of a system cache
	}
	end := b.take(walrecord.Record{
		RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommit | walrecord.XactHasInfo, XID: 71,
		MainData: join(put64(99), put32(walrecord.XinfoRelations|walrecord.XinfoInvals, relations), files, put32(4*relations), messages),
	})
	for kind, space := range map[EventKind]uint32{EventDrop: 1663, EventCatalog: 0} {
		var all []walrecord.RelFile
		for _, e := range allEvents(t, b.tl, kind) {
			require.Equal(t, Event{Kind: kind, LSN: end, XID: 71, Time: 99, Rels: e.Rels}, e)
			require.LessOrEqual(t, len(e.Rels), eventRelations)
			all = append(all, e.Rels...)
		}
		require.Len(t, all, relations, kind)
		for i, rel := range all {
			require.Equal(t, walrecord.RelFile{Tablespace: space, Database: 5, Relation: 16384 + uint32(i)}, rel)
		}
	}
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
		RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommit | walrecord.XactHasInfo, XID: 71,
		MainData: join(put64(99), put32(walrecord.XinfoRelations, 2), relBytes(table), relBytes(other)),
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
	require.EqualValues(t, 3, b.in.state.u32(pgdata.CheckPointTLI))
}
