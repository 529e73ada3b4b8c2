package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// rig is a timeline that takes records one by one, without pages of WAL around
// them.
type rig struct {
	t     testing.TB
	tl    *pagestore.Timeline
	in    *Ingester
	major int
}

func newRig(t testing.TB, major int) *rig {
	t.Helper()
	_, tl := newStore(t, t.TempDir(), 1, pagestore.Options{})
	base(t, tl, 0x1000, emptyControl(controlVersions[major], 1))
	b := &rig{t: t, tl: tl, major: major}
	b.restart()
	return b
}

// restart goes on with what the timeline knows.
func (b *rig) restart() {
	b.t.Helper()
	in, err := New(b.t.Context(), b.tl, Options{PGVersion: uint32(b.major), SegmentSize: fixtureSegment})
	require.NoError(b.t, err)
	in.ctx = b.t.Context()
	b.in = in
}

// try takes a record and returns its end.
func (b *rig) try(r walrecord.Record) (wal.LSN, error) {
	b.t.Helper()
	r.Start = b.tl.LastLSN()
	r.Major = b.major
	raw := rawRecordOf(&r)
	if len(r.Blocks) > 0 {
		raw = pagekey.AppendRecord(nil, &r, 0, redo.Options{})[4:]
	}
	c := newChunk()
	c.major, c.settings, c.xidLimit = b.major, b.in.state.settings, uint32(b.in.state.storedXID)
	end := (r.Start + wal.LSN(len(raw))).Align8()
	c.add(r.Start, end, raw)
	c.encode()
	return end, b.in.finish(c)
}

func (b *rig) take(r walrecord.Record) wal.LSN {
	b.t.Helper()
	end, err := b.try(r)
	require.NoError(b.t, err)
	return end
}

func rawRecordOf(r *walrecord.Record) []byte {
	raw := make([]byte, walrecord.RecordHeaderSize)
	binary.LittleEndian.PutUint32(raw[4:], r.XID)
	raw[16], raw[17] = r.Info, byte(r.RMID)
	if r.HasOrigin {
		raw = binary.LittleEndian.AppendUint16(append(raw, 253), r.Origin)
	}
	if n := len(r.MainData); n > 0 {
		raw = binary.LittleEndian.AppendUint32(append(raw, 254), uint32(n))
		raw = append(raw, r.MainData...)
	}
	binary.LittleEndian.PutUint32(raw, uint32(len(raw)))
	return raw
}

// put32 is main data of 32-bit fields.
func put32(fields ...uint32) (b []byte) {
	for _, f := range fields {
		b = binary.LittleEndian.AppendUint32(b, f)
	}
	return b
}

func put64(fields ...uint64) (b []byte) {
	for _, f := range fields {
		b = binary.LittleEndian.AppendUint64(b, f)
	}
	return b
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// page reads a page at an LSN; ok is false where none exists.
func (b *rig) page(key pagestore.Key, lsn wal.LSN) (p page.Page, ok bool) {
	b.t.Helper()
	var (
		v pagestore.Value
		r pagekey.Replayer
	)
	err := b.tl.Get(b.t.Context(), key, lsn, &v)
	if errors.Is(err, pagestore.ErrNotFound) {
		return p, false
	}
	require.NoError(b.t, err)
	require.NoError(b.t, r.Page(key, &v, &p))
	return p, true
}

// value reads a value that is no page; nil where none exists.
func (b *rig) value(key pagestore.Key, lsn wal.LSN) []byte {
	b.t.Helper()
	var v pagestore.Value
	err := b.tl.Get(b.t.Context(), key, lsn, &v)
	if errors.Is(err, pagestore.ErrNotFound) {
		return nil
	}
	require.NoError(b.t, err)
	return append([]byte{}, v.Image...)
}

func (b *rig) size(rel walrecord.RelFile, fork walrecord.Fork, lsn wal.LSN) int {
	b.t.Helper()
	raw := b.value(pagekey.RelationSize(rel, fork), lsn)
	if raw == nil {
		return -1
	}
	n, err := pagekey.ParseSize(raw)
	require.NoError(b.t, err)
	return int(n)
}

var (
	table = walrecord.RelFile{Tablespace: 1663, Database: 5, Relation: 16384}
	other = walrecord.RelFile{Tablespace: 1663, Database: 5, Relation: 16385}
)

func relBytes(r walrecord.RelFile) []byte { return put32(r.Tablespace, r.Database, r.Relation) }

// made is a record that makes a page anew: Heap/INSERT+INIT, the shortest.
func made(rel walrecord.RelFile, fork walrecord.Fork, block uint32, mark byte) walrecord.Record {
	return walrecord.Record{
		RMID: walrecord.RmgrHeap, Info: 0x80, XID: 700, MainData: []byte{1, 0, 0},
		Blocks: []walrecord.Block{{Rel: rel, Fork: fork, Block: block, WillInit: true, HasData: true, Data: []byte{2, 0, 0, 8, 24, 0, mark}}},
	}
}

func TestOffsetOfTheNextMultiXact(t *testing.T) {
	b := newRig(t, 15)
	zero := walrecord.Record{RMID: walrecord.RmgrMultiXact, Info: multiZeroOffsets, MainData: put32(1)}
	end := b.take(walrecord.Record{RMID: walrecord.RmgrMultiXact, Info: multiCreate, MainData: put32(2047, 10, 2, 800, 4, 801, 0)})
	key := pagekey.SLRUPage(pagekey.MultiXactOffsets, 1)
	first := func(lsn wal.LSN) uint32 {
		p, ok := b.page(key, lsn)
		require.True(t, ok)
		return binary.LittleEndian.Uint32(p[:])
	}
	require.EqualValues(t, 12, first(end), "where the next multixact begins is there, on a page of its own")
	b.restart() // It is known across a crash that the page was made early.
	require.EqualValues(t, 12, first(b.take(zero)), "the page's own record must not empty it")
	require.Zero(t, first(b.take(zero)), "but another one does")

	members, _ := b.page(pagekey.SLRUPage(pagekey.MultiXactMembers, 0), end)
	require.Equal(t, byte(4), members[2*20+2]) // Member 10: group 2, place 2.
	require.Equal(t, uint32(800), binary.LittleEndian.Uint32(members[2*20+4+2*4:]))
	require.EqualValues(t, 2048, b.in.state.u32(pgdata.CheckPointNextMulti))
	require.EqualValues(t, 12, b.in.state.u32(pgdata.CheckPointNextMultiOffset))
	require.Greater(t, b.in.state.storedXID, uint64(801))
}

func TestMembersGoRound(t *testing.T) {
	b := newRig(t, 18)
	end := b.take(walrecord.Record{RMID: walrecord.RmgrMultiXact, Info: multiCreate, MainData: put32(5, 0xFFFFFFFF, 2, 900, 1, 901, 2)})
	last, _ := b.page(pagekey.SLRUPage(pagekey.MultiXactMembers, 0xFFFFFFFF/1636), end)
	n := 0xFFFFFFFF % 1636
	require.Equal(t, uint32(900), binary.LittleEndian.Uint32(last[n/4*20+4+n%4*4:]))
	first, _ := b.page(pagekey.SLRUPage(pagekey.MultiXactMembers, 0), end)
	require.Equal(t, byte(2), first[0])
	require.Equal(t, uint32(901), binary.LittleEndian.Uint32(first[4:]))
}

func TestTruncationOfMultiXacts(t *testing.T) {
	b := newRig(t, 15)
	const perFile = 1636 * 32
	for seg := range uint32(4) {
		b.take(walrecord.Record{RMID: walrecord.RmgrMultiXact, Info: multiZeroMembers, MainData: put32(seg * 32)})
		b.take(walrecord.Record{RMID: walrecord.RmgrMultiXact, Info: multiZeroOffsets, MainData: put32(seg * 32)})
	}
	before := b.tl.LastLSN()
	end := b.take(walrecord.Record{
		RMID: walrecord.RmgrMultiXact, Info: multiTruncate,
		MainData: put32(5, 1, 2*2048*32+7, perFile, 3*perFile+5),
	})
	for seg, want := range []struct{ members, offsets bool }{{true, false}, {false, false}, {false, true}, {true, true}} {
		require.Equal(t, want.members, b.value(pagekey.SLRUSegment(pagekey.MultiXactMembers, uint32(seg)), end) != nil, seg)
		require.Equal(t, want.offsets, b.value(pagekey.SLRUSegment(pagekey.MultiXactOffsets, uint32(seg)), end) != nil, seg)
		_, page := b.page(pagekey.SLRUPage(pagekey.MultiXactMembers, uint64(seg)*32), end)
		require.Equal(t, want.members, page, seg)
		require.NotNil(t, b.value(pagekey.SLRUSegment(pagekey.MultiXactMembers, uint32(seg)), before), "before, all were there")
	}
}

// A truncation removes the segments all of whose pages lie before its page.
func TestTruncationOfTransactionLogs(t *testing.T) {
	for _, major := range []int{16, 17} {
		b := newRig(t, major)
		number := func(n uint32) []byte {
			if major == 16 {
				return put32(n)
			}
			return put64(uint64(n))
		}
		for slru, id := range map[pagekey.SLRU]walrecord.RmgrID{pagekey.CLOG: walrecord.RmgrCLOG, pagekey.CommitTS: walrecord.RmgrCommitTs} {
			for n := range uint32(3 * pagekey.SLRUSegmentPages) {
				b.take(walrecord.Record{RMID: id, Info: slruZeroPage, MainData: number(n)})
			}
			before := b.tl.LastLSN()
			for _, to := range []uint32{pagekey.SLRUSegmentPages - 1, 2*pagekey.SLRUSegmentPages - 1, 2 * pagekey.SLRUSegmentPages} {
				end := b.take(walrecord.Record{RMID: id, Info: slruTruncate, MainData: join(number(to), put32(5, 1))})
				for seg := range uint32(3) {
					want := seg >= to/pagekey.SLRUSegmentPages
					require.Equal(t, want, b.value(pagekey.SLRUSegment(slru, seg), end) != nil, "%s/%04X, version %d", slru.Dir(), seg, major)
					_, page := b.page(pagekey.SLRUPage(slru, uint64(seg)*pagekey.SLRUSegmentPages), end)
					require.Equal(t, want, page)
					require.NotNil(t, b.value(pagekey.SLRUSegment(slru, seg), before), "before, all were there")
				}
			}
		}
	}
}

func status(p *page.Page, xid int) int { return int(p[xid%32768/4]) >> (xid % 4 * 2) & 3 }

func TestCommitAndAbort(t *testing.T) {
	b := newRig(t, 15)
	const top, sub1, sub2 = 32767, 32768, 32770
	dropped := relBytes(table)
	b.take(made(table, walrecord.ForkMain, 0, 1))
	b.take(made(table, walrecord.ForkFSM, 2, 1))
	b.take(made(other, walrecord.ForkMain, 0, 1))
	before := b.tl.LastLSN()
	end := b.take(walrecord.Record{
		RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommit | walrecord.XactHasInfo, XID: top,
		MainData: join(put64(1000), put32(walrecord.XinfoDBInfo|walrecord.XinfoSubxacts|walrecord.XinfoRelations|walrecord.XinfoInvals|walrecord.XinfoDroppedStats, 5, 1663, 2, sub1, sub2, 1), dropped,
			put32(1), make([]byte, 12), put32(1), make([]byte, 16)),
	})
	p, _ := b.page(pagekey.SLRUPage(pagekey.CLOG, 0), end)
	require.Equal(t, 1, status(&p, top))
	p, _ = b.page(pagekey.SLRUPage(pagekey.CLOG, 1), end)
	require.Equal(t, 1, status(&p, sub1))
	require.Equal(t, 0, status(&p, sub1+1))
	require.Equal(t, 1, status(&p, sub2))
	require.Equal(t, 1, b.size(table, walrecord.ForkMain, before))
	require.Equal(t, -1, b.size(table, walrecord.ForkMain, end))
	require.Equal(t, -1, b.size(table, walrecord.ForkFSM, end))
	require.Equal(t, 1, b.size(other, walrecord.ForkMain, end))
	_, ok := b.page(pagekey.Block(table, 0, 0), end)
	require.False(t, ok, "what is dropped is gone, also for who takes its number")
	require.GreaterOrEqual(t, b.in.state.storedXID, uint64(sub2+1))

	end = b.take(walrecord.Record{RMID: walrecord.RmgrTransaction, Info: walrecord.XactAbort, XID: 40000, MainData: put64(1)})
	p, _ = b.page(pagekey.SLRUPage(pagekey.CLOG, 1), end)
	require.Equal(t, 2, status(&p, 40000))
}

// A commit that drops more relations than a batch has room for comes in parts, of
// which nothing is there before the last.
func TestCommitInParts(t *testing.T) {
	const relations = 6000
	_, tl := newStore(t, t.TempDir(), 1, pagestore.Options{MemLayerSize: 512 << 10, MaxValueSize: 128 << 10, MaxFrozen: 8})
	base(t, tl, 0x1000, emptyControl(controlVersions[15], 1))
	b := &rig{t: t, tl: tl, major: 15}
	b.restart()
	var dropped []byte
	rel := func(i int) walrecord.RelFile {
		return walrecord.RelFile{Tablespace: 1663, Database: 5, Relation: uint32(20_000 + i)}
	}
	for i := range relations {
		dropped = append(dropped, relBytes(rel(i))...)
		b.in.setSize(relFork{rel(i), walrecord.ForkMain}, 1, b.tl.LastLSN()+1)
		if i%1000 == 999 {
			require.NoError(t, b.in.put(b.tl.LastLSN()+1))
		}
	}
	b.restart()
	b.in.partEntries = 1000
	before := b.tl.LastLSN()
	end := b.take(walrecord.Record{
		RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommit | walrecord.XactHasInfo, XID: 5000,
		MainData: join(put64(1000), put32(walrecord.XinfoRelations, relations), dropped),
	})
	for i := 0; i < relations; i += 777 {
		require.NotEqual(t, -1, b.size(rel(i), walrecord.ForkMain, before))
		require.Equal(t, -1, b.size(rel(i), walrecord.ForkMain, end), i)
	}
	p, _ := b.page(pagekey.SLRUPage(pagekey.CLOG, 0), end)
	require.Equal(t, 1, status(&p, 5000))
	again := made(rel(0), walrecord.ForkMain, 0, 1)
	require.Equal(t, 1, b.size(rel(0), walrecord.ForkMain, b.take(again)), "its number may come again")
}

// The state of a prepared transaction is a value as large as its record, which the
// store must have room for together with what else is put with it.
func TestLargePreparedTransaction(t *testing.T) {
	const size, beside = 17 << 20, 2 << 20
	for _, limit := range []int{size / 2, size + beside} {
		_, tl := newStore(t, t.TempDir(), 1, pagestore.Options{MemLayerSize: 1 << 20, MaxValueSize: limit, MaxFrozen: 8})
		base(t, tl, 0x1000, emptyControl(controlVersions[15], 1))
		b := &rig{t: t, tl: tl, major: 15}
		b.restart()
		state := join(put32(0x57F94534, size, 750), make([]byte, size-12))
		prepare := walrecord.Record{RMID: walrecord.RmgrTransaction, Info: walrecord.XactPrepare, XID: 750, MainData: state}
		if limit < size {
			prepare.End = tl.LastLSN() + 8
			require.NoError(t, b.in.apply(&prepare))
			require.ErrorIs(t, b.in.put(prepare.End), pagestore.ErrTooLarge)
			continue
		}
		end := b.take(prepare)
		require.NoError(t, tl.Flush(t.Context()))
		b.restart()
		require.True(t, bytes.Equal(state, b.value(pagekey.TwoPhase(750), end)))
	}
}

func TestPreparedTransaction(t *testing.T) {
	b := newRig(t, 15)
	state := join(put32(0x57F94534, 72, 750), make([]byte, 60))
	end := b.take(walrecord.Record{RMID: walrecord.RmgrTransaction, Info: walrecord.XactPrepare, XID: 750, MainData: state})
	require.Equal(t, state, b.value(pagekey.TwoPhase(750), end))
	_, ok := b.page(pagekey.SLRUPage(pagekey.CLOG, 0), end)
	require.False(t, ok)
	// With the name that wal_level=logical writes, and an origin behind it.
	end = b.take(walrecord.Record{
		RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommitPrepared | walrecord.XactHasInfo, HasOrigin: true, Origin: 3,
		MainData: join(put64(1), put32(walrecord.XinfoTwoPhase|walrecord.XinfoGID|walrecord.XinfoOrigin, 750), []byte("name\x00"), put64(0xAB00, 77)),
	})
	require.Nil(t, b.value(pagekey.TwoPhase(750), end))
	p, _ := b.page(pagekey.SLRUPage(pagekey.CLOG, 0), end)
	require.Equal(t, 1, status(&p, 750))
	remote, local, err := pagekey.ParseOrigin(b.value(pagekey.Origin(3), end))
	require.NoError(t, err)
	require.Equal(t, wal.LSN(0xAB00), remote)
	require.Equal(t, end, local)
}

// A transaction that was prepared elsewhere counts as replayed from when it is
// prepared here: its origin would send it again else.
func TestPrepareAdvancesItsOrigin(t *testing.T) {
	for major, originAt := range map[int]int{14: 48, 15: 56, 18: 56} {
		b := newRig(t, major)
		state := join(put32(0x57F94534, 80, 750), make([]byte, originAt-12), put64(0xAB00, 77), []byte("rest"))
		prepare := walrecord.Record{RMID: walrecord.RmgrTransaction, Info: walrecord.XactPrepare, XID: 750, MainData: state}
		require.Nil(t, b.value(pagekey.Origin(0), b.take(prepare)), "prepared here")
		prepare.HasOrigin, prepare.Origin = true, 3
		end := b.take(prepare)
		remote, local, err := pagekey.ParseOrigin(b.value(pagekey.Origin(3), end))
		require.NoError(t, err)
		require.Equal(t, wal.LSN(0xAB00), remote, "version %d", major)
		require.Equal(t, end, local)
		prepare.Origin = doNotReplicate
		require.Nil(t, b.value(pagekey.Origin(doNotReplicate), b.take(prepare)), "there is no progress of what goes nowhere")
		prepare.MainData = state[:originAt]
		_, err = b.try(prepare)
		require.NoError(t, err, "nothing is read of it")
		prepare.Origin = 3
		_, err = b.try(prepare)
		require.ErrorIs(t, err, errTruncated)
	}
}

func TestOriginsNeverGoBack(t *testing.T) {
	b := newRig(t, 15)
	set := func(lsn uint64, force byte) wal.LSN {
		return b.take(walrecord.Record{
			RMID: walrecord.RmgrReplicationOrigin, Info: originSet, MainData: join(put64(lsn), []byte{7, 0, force, 0, 0, 0, 0, 0}),
		})
	}
	progress := func(end wal.LSN) wal.LSN {
		remote, _, err := pagekey.ParseOrigin(b.value(pagekey.Origin(7), end))
		require.NoError(t, err)
		return remote
	}
	require.Equal(t, wal.LSN(500), progress(set(500, 0)))
	require.Equal(t, wal.LSN(500), progress(set(400, 0)))
	require.Equal(t, wal.LSN(400), progress(set(400, 1)))
	end := b.take(walrecord.Record{RMID: walrecord.RmgrReplicationOrigin, Info: originDrop, MainData: []byte{7, 0}})
	require.Nil(t, b.value(pagekey.Origin(7), end))
}

func TestTruncate(t *testing.T) {
	b := newRig(t, 15)
	for n := range uint32(12) {
		b.take(made(table, walrecord.ForkMain, n, byte(n)))
	}
	b.take(made(table, walrecord.ForkVM, 0, 1))
	b.take(made(table, walrecord.ForkFSM, 2, 1))
	before := b.tl.LastLSN()
	end := b.take(walrecord.Record{
		RMID: walrecord.RmgrStorage, Info: storageTruncate | 1,
		MainData: join(put32(5), relBytes(table), put32(truncateHeap|truncateVM|truncateFSM)),
	})
	require.Equal(t, 12, b.size(table, walrecord.ForkMain, before))
	require.Equal(t, 5, b.size(table, walrecord.ForkMain, end))
	require.Equal(t, 1, b.size(table, walrecord.ForkVM, end))
	require.Equal(t, 3, b.size(table, walrecord.ForkFSM, end))
	_, ok := b.page(pagekey.Block(table, 0, 4), end)
	require.True(t, ok)
	for n := uint32(5); n < 12; n++ {
		_, ok = b.page(pagekey.Block(table, 0, n), end)
		require.False(t, ok, "block %d is gone", n)
		_, ok = b.page(pagekey.Block(table, 0, n), before)
		require.True(t, ok)
	}
	end = b.take(made(table, walrecord.ForkMain, 7, 9))
	require.Equal(t, 8, b.size(table, walrecord.ForkMain, end))
	_, ok = b.page(pagekey.Block(table, 0, 6), end)
	require.False(t, ok, "a hole is empty, not what was there before")
}

func TestBlocksOfTheFreeSpaceMap(t *testing.T) {
	// fsm_logical_to_physical: each leaf behind the inner pages above it.
	require.EqualValues(t, 2, fsmBlock(0))
	require.EqualValues(t, 3, fsmBlock(1))
	require.EqualValues(t, 2+4068, fsmBlock(4068))
	require.EqualValues(t, 2+4069+1, fsmBlock(4069))
}

func TestCommitTimestampsBeginAndEnd(t *testing.T) {
	b := newRig(t, 15)
	parameters := func(track byte) wal.LSN {
		return b.take(walrecord.Record{
			RMID: walrecord.RmgrXLOG, Info: xlogParameterChange, MainData: join(put32(100, 8, 10, 0, 64, 1), []byte{1, track, 0, 0}),
		})
	}
	commit := func(xid uint32, at uint64) wal.LSN {
		return b.take(walrecord.Record{RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommit, XID: xid, MainData: put64(at)})
	}
	key := pagekey.SLRUPage(pagekey.CommitTS, 0)
	_, ok := b.page(key, commit(10, 1))
	require.False(t, ok)
	parameters(1)
	require.Equal(t, redo.Options{WALLogHints: true}, b.in.state.settings)
	p, ok := b.page(key, commit(11, 0x1122334455667788))
	require.True(t, ok)
	require.EqualValues(t, 0x1122334455667788, binary.LittleEndian.Uint64(p[110:]))
	b.restart()
	p, _ = b.page(key, commit(12, 5))
	require.EqualValues(t, 5, binary.LittleEndian.Uint64(p[120:]))
	end := parameters(0)
	_, ok = b.page(key, end)
	require.False(t, ok)
	require.Nil(t, b.value(pagekey.SLRUSegment(pagekey.CommitTS, 0), end))
	_, err := parseControl(b.value(pagekey.ControlFile(), end))
	require.NoError(t, err, "the control file has a good CRC")
}

func TestDatabases(t *testing.T) {
	for _, major := range []int{14, 15} {
		b := newRig(t, major)
		b.take(made(table, walrecord.ForkMain, 1, 42))
		b.take(walrecord.Record{RMID: walrecord.RmgrRelMap, MainData: join(put32(5, 1663, 4), []byte("map!"))})
		end := b.take(walrecord.Record{RMID: walrecord.RmgrDatabase, Info: databaseCopy, MainData: put32(9, 1663, 5, 1663)})
		copied := table
		copied.Database = 9
		require.Equal(t, 2, b.size(copied, walrecord.ForkMain, end))
		require.Equal(t, []byte("map!"), b.value(pagekey.RelMap(1663, 9), end))
		require.NotNil(t, b.value(pagekey.Database(1663, 9), end))
		source, _ := b.page(pagekey.Block(table, 0, 1), end)
		p, ok := b.page(pagekey.Block(copied, 0, 1), end)
		require.True(t, ok)
		require.Equal(t, source, p)

		b.take(made(copied, walrecord.ForkMain, 1, 43)) // What happens to the copy does not happen to its source.
		same, _ := b.page(pagekey.Block(table, 0, 1), b.tl.LastLSN())
		require.Equal(t, source, same)

		drop := uint8(databaseDrop)
		if major == 14 {
			drop = databaseDrop14
		}
		end = b.take(walrecord.Record{RMID: walrecord.RmgrDatabase, Info: drop, MainData: put32(9, 1, 1663)})
		require.Equal(t, -1, b.size(copied, walrecord.ForkMain, end))
		require.Nil(t, b.value(pagekey.Database(1663, 9), end))
		_, ok = b.page(pagekey.Block(copied, 0, 1), end)
		require.False(t, ok)
		require.Equal(t, 2, b.size(table, walrecord.ForkMain, end))
		end = b.take(made(copied, walrecord.ForkMain, 0, 1)) // The sizes that were known are forgotten, too.
		require.Equal(t, 1, b.size(copied, walrecord.ForkMain, end))
	}
}

// A database that does not fit into a batch is put in parts. A crash between them
// begins it again.
func TestLargeDatabaseIsCopiedInParts(t *testing.T) {
	b := newRig(t, 15)
	for n := range uint32(100) {
		b.take(made(table, walrecord.ForkMain, n, byte(n)))
	}
	// The copy gets no further than to a block that is damaged.
	damaged := pagekey.Block(table, walrecord.ForkMain, 100)
	before := b.tl.LastLSN() + 8
	require.NoError(t, b.tl.Put(t.Context(), pagestore.Batch{
		Entries: []pagestore.Entry{{Key: damaged, LSN: before, Kind: pagestore.Image, Value: []byte{1}}}, LSN: before,
	}))
	b.restart()
	r := walrecord.Record{RMID: walrecord.RmgrDatabase, Info: databaseCopy, XID: 5000, MainData: put32(9, 1663, 5, 1663)}
	copied := table
	copied.Database = 9
	for range 2 {
		b.in.copyBytes = 1
		_, err := b.try(r)
		require.ErrorContains(t, err, "value of a page is damaged")
		require.Equal(t, before, b.tl.LastLSN(), "nothing of a half copy is seen")
		require.Equal(t, -1, b.size(copied, walrecord.ForkMain, before))
		b.restart()
		require.Equal(t, before, b.in.Position(), "the record is fed again")
	}
	before = b.take(made(table, walrecord.ForkMain, 100, 77))
	b.in.copyBytes = 1
	end := b.take(r)
	require.Equal(t, -1, b.size(copied, walrecord.ForkMain, before))
	require.Equal(t, 101, b.size(copied, walrecord.ForkMain, end))
	require.NoError(t, b.tl.Flush(t.Context()))
	require.NoError(t, b.tl.Compact(t.Context()))
	for n := range uint32(101) {
		want, _ := b.page(pagekey.Block(table, 0, n), before)
		got, ok := b.page(pagekey.Block(copied, 0, n), end)
		require.True(t, ok)
		require.Equal(t, want, got, n)
	}
	require.NotNil(t, b.value(pagekey.Database(1663, 9), end))
	require.Len(t, allEvents(t, b.tl, EventDatabaseCreated), 1)
	b.restart()
	require.Equal(t, end, b.in.Position())
	require.GreaterOrEqual(t, b.in.state.storedXID, uint64(5001))
}

func TestTablespaces(t *testing.T) {
	b := newRig(t, 17)
	end := b.take(walrecord.Record{RMID: walrecord.RmgrTablespace, MainData: join(put32(16400), []byte("/srv/ts\x00"))})
	require.Equal(t, []byte("/srv/ts"), b.value(pagekey.Tablespace(16400), end))
	end = b.take(walrecord.Record{RMID: walrecord.RmgrTablespace, Info: tablespaceDrop, MainData: put32(16400)})
	require.Nil(t, b.value(pagekey.Tablespace(16400), end))
}

// A record of an extension is kept; its page is an error until an image follows.
func TestCustomRecordsAreKeptAndNamed(t *testing.T) {
	b := newRig(t, 16)
	b.take(made(table, walrecord.ForkMain, 0, 1))
	end := b.take(walrecord.Record{RMID: 129, Blocks: []walrecord.Block{{Rel: table, Block: 0, HasData: true, Data: []byte("x")}}})
	var (
		v pagestore.Value
		r pagekey.Replayer
		p page.Page
	)
	key := pagekey.Block(table, 0, 0)
	require.NoError(t, b.tl.Get(t.Context(), key, end, &v))
	require.ErrorContains(t, r.Page(key, &v, &p), "custom resource manager 129")
	require.InDelta(t, 1, testutil.ToFloat64(b.in.o.Metrics.custom), 0)
	end = b.take(made(table, walrecord.ForkMain, 0, 2))
	_, ok := b.page(key, end)
	require.True(t, ok)
}

// A record that cannot be understood is named, nothing of it is put, and it is
// met again.
func TestBadRecordStops(t *testing.T) {
	b := newRig(t, 15)
	at := b.tl.LastLSN()
	for range 2 {
		_, err := b.try(walrecord.Record{RMID: walrecord.RmgrTransaction, Info: walrecord.XactCommit | walrecord.XactHasInfo, XID: 5, MainData: put64(1)})
		require.ErrorIs(t, err, errTruncated)
		require.ErrorContains(t, err, at.String())
		require.Equal(t, at, b.tl.LastLSN())
		b.restart()
	}
	_, err := b.try(walrecord.Record{RMID: walrecord.RmgrStorage, Info: 0x70})
	require.ErrorIs(t, err, errUnknown)
}

func TestNextXIDIsRoundedUpAcrossTheEpoch(t *testing.T) {
	b := newRig(t, 15)
	b.in.state.storedXID = 1<<32 - 1024
	end := b.take(walrecord.Record{RMID: walrecord.RmgrHeap, Info: heapTruncate, XID: 0xFFFFFFFE, MainData: put32(5, 0, 0)})
	raw := b.value(pagekey.Checkpoint(), end)
	require.EqualValues(t, 1<<32, binary.LittleEndian.Uint64(raw[pgdata.CheckPointNextXID:]))
	end = b.take(walrecord.Record{RMID: walrecord.RmgrHeap, Info: heapTruncate, XID: 5, MainData: put32(5, 0, 0)})
	raw = b.value(pagekey.Checkpoint(), end)
	require.EqualValues(t, 1<<32+1024, binary.LittleEndian.Uint64(raw[pgdata.CheckPointNextXID:]))
}
