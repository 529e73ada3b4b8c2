package ingest

import (
	"context"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// payload is a record's bytes behind its header, for a Builder.
func payload(r walrecord.Record) []byte {
	if len(r.Blocks) == 0 {
		return rawRecordOf(&r)[walrecord.RecordHeaderSize:]
	}
	return pagekey.AppendRecord(nil, &r, 0, redo.Options{})[4+walrecord.RecordHeaderSize:]
}

func newBuilder() *walrecordtest.Builder {
	return walrecordtest.New(walrecordtest.Options{Start: 0x1000000, SegmentSize: fixtureSegment, Major: 15})
}

// ingesterOf makes an Ingester that begins where a Builder did.
func ingesterOf(t testing.TB, b *walrecordtest.Builder, workers int) (*Ingester, *pagestore.Timeline) {
	t.Helper()
	_, tl := newStore(t, t.TempDir(), b.Start()-1, pagestore.Options{})
	base(t, tl, b.Start(), emptyControl(1300, walrecordtest.SystemID))
	in, err := New(t.Context(), tl, Options{PGVersion: 15, SegmentSize: fixtureSegment, Workers: workers})
	require.NoError(t, err)
	return in, tl
}

// A change of settings counts for the records behind it, whichever goroutine
// takes them apart.
func TestSettingsChangeInOrder(t *testing.T) {
	b := newBuilder()
	var changed wal.LSN
	for n := range uint32(6000) {
		if n == 3000 {
			_, changed = b.Record(uint8(walrecord.RmgrXLOG), xlogParameterChange, 0, payload(walrecord.Record{
				MainData: join(put32(100, 8, 10, 0, 64, 1), []byte{1, 0, 0, 0}),
			}))
		}
		r := made(table, walrecord.ForkMain, n, 1)
		b.Record(uint8(r.RMID), r.Info, r.XID, payload(r))
	}
	in, tl := ingesterOf(t, b, 4)
	require.NoError(t, in.Feed(t.Context(), b.Start(), b.Bytes()))
	n := 0
	var rec walrecord.Record
	err := tl.Scan(t.Context(), pagekey.BlocksOf(table), tl.LastLSN(), pagestore.ScanOptions{}, func(_ pagestore.Key, v *pagestore.Value) (bool, error) {
		n++
		require.Len(t, v.Deltas, 1)
		_, o, _, err := pagekey.DecodeRecord(v.Deltas[0].Record, v.Deltas[0].LSN, &rec)
		require.Equal(t, rec.Start >= changed, o.WALLogHints, "record at %s, change until %s", rec.Start, changed)
		return true, err
	})
	require.NoError(t, err)
	require.Equal(t, 6000, n)
}

// Behind a record that cannot be understood nothing is put, however many
// goroutines are at work, and the way back is a new Ingester.
func TestNothingIsPutBehindABadRecord(t *testing.T) {
	b := newBuilder()
	var bad wal.LSN
	for n := range uint32(12000) {
		if n == 6000 {
			bad, _ = b.Record(uint8(walrecord.RmgrCLOG), 0xE0, 0, payload(walrecord.Record{MainData: put32(1)}))
		}
		r := made(table, walrecord.ForkMain, n, 1)
		b.Record(uint8(r.RMID), r.Info, r.XID, payload(r))
	}
	in, tl := ingesterOf(t, b, 4)
	err := in.Feed(t.Context(), b.Start(), b.Bytes())
	require.ErrorIs(t, err, errUnknown)
	require.ErrorContains(t, err, bad.String())
	require.LessOrEqual(t, tl.LastLSN(), bad)
	require.ErrorIs(t, in.Feed(t.Context(), in.Position(), []byte{1}), errUnknown, "it stays stopped")

	again, err := New(t.Context(), tl, Options{PGVersion: 15, SegmentSize: fixtureSegment})
	require.NoError(t, err)
	at := again.Position()
	require.ErrorIs(t, again.Feed(t.Context(), at, b.Bytes()[at-b.Start():]), errUnknown)
}

func TestFeedRefusesAGap(t *testing.T) {
	b := newBuilder()
	b.Message(100)
	in, tl := ingesterOf(t, b, 1)
	require.ErrorIs(t, in.Feed(t.Context(), b.Start()+8, b.Bytes()), walrecord.ErrPosition)
	require.NoError(t, in.Feed(t.Context(), b.Start(), b.Bytes()))
	require.Equal(t, b.Position(), tl.LastLSN())
}

func TestFeedEndsWithItsContext(t *testing.T) {
	b := newBuilder()
	for n := range uint32(40000) {
		r := made(table, walrecord.ForkMain, n, 1)
		b.Record(uint8(r.RMID), r.Info, r.XID, payload(r))
	}
	_, tl := newStore(t, t.TempDir(), b.Start()-1, pagestore.Options{MemLayerSize: 1 << 20, MaxFrozen: 1})
	base(t, tl, b.Start(), emptyControl(1300, walrecordtest.SystemID))
	in, err := New(t.Context(), tl, Options{PGVersion: 15, SegmentSize: fixtureSegment, Workers: 4})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, in.Feed(ctx, b.Start(), b.Bytes()), context.Canceled)
	require.Less(t, tl.LastLSN(), b.Position())
}

func TestNewNeedsABase(t *testing.T) {
	_, tl := newStore(t, t.TempDir(), 1, pagestore.Options{})
	_, err := New(t.Context(), tl, Options{SegmentSize: fixtureSegment})
	require.ErrorIs(t, err, ErrNoControlFile)
	damaged := emptyControl(1300, 1)
	damaged[100] ^= 1
	base(t, tl, 0x1000, damaged)
	_, err = New(t.Context(), tl, Options{SegmentSize: fixtureSegment})
	require.ErrorIs(t, err, pgdata.ErrControlChecksum)
}

// Where WAL begins between page headers, only the control file tells its version.
func TestVersionOfTheControlFile(t *testing.T) {
	for catalog, want := range map[uint32]int{202107181: 14, 202209061: 15, 202307071: 16, 202406281: 17, 202506291: 18} {
		c := control(emptyControl(1300, 1))
		binary.LittleEndian.PutUint32(c[pgdata.ControlCatalog:], catalog)
		pgdata.SealControl(c)
		_, tl := newStore(t, t.TempDir(), 1, pagestore.Options{})
		base(t, tl, 0x1000, c)
		in, err := New(t.Context(), tl, Options{SegmentSize: fixtureSegment})
		require.NoError(t, err)
		require.Equal(t, want, in.reader.Major())
	}
	_, tl := newStore(t, t.TempDir(), 1, pagestore.Options{})
	base(t, tl, 0x1000, emptyControl(1300, 1))
	_, err := New(t.Context(), tl, Options{SegmentSize: fixtureSegment})
	require.ErrorContains(t, err, "catalog version 0")
}

// TLI switches inside the stream are taken.
func TestTimelineSwitch(t *testing.T) {
	b := newBuilder()
	r := made(table, walrecord.ForkMain, 0, 1)
	b.Record(uint8(r.RMID), r.Info, r.XID, payload(r))
	b.Switch()
	b.SetTLI(2)
	_, end := b.Record(uint8(walrecord.RmgrXLOG), xlogEndOfRecovery, 0, payload(walrecord.Record{MainData: join(put64(5), put32(2, 1))}))
	in, tl := ingesterOf(t, b, 2)
	require.NoError(t, in.Feed(t.Context(), b.Start(), b.Bytes()))
	require.Equal(t, end, tl.LastLSN())
	require.EqualValues(t, 2, in.state.u32(pgdata.CheckPointTLI))
}

// A record larger than there is memory for is refused before it takes any, with
// its size; a logical message of any size is not kept, and its checksum counts.
func TestLargeRecords(t *testing.T) {
	const limit = 1 << 20
	options := Options{PGVersion: 15, SegmentSize: fixtureSegment, MaxRecord: limit}
	for _, damaged := range []bool{false, true} {
		b := newBuilder()
		b.Record(uint8(walrecord.RmgrLogicalMessage), 0, 5000, walrecordtest.MainData(3*limit))
		middle := len(b.Bytes()) - limit
		r := made(table, walrecord.ForkMain, 0, 1)
		b.Record(uint8(r.RMID), r.Info, r.XID, payload(r))
		before := b.Position()
		start, _ := b.Record(uint8(walrecord.RmgrTransaction), walrecord.XactPrepare, 0, walrecordtest.MainData(limit+1))
		raw := b.Bytes()
		if damaged {
			raw[middle] ^= 1
		}
		_, tl := newStore(t, t.TempDir(), b.Start()-1, pagestore.Options{})
		base(t, tl, b.Start(), emptyControl(1300, walrecordtest.SystemID))
		in, err := New(t.Context(), tl, options)
		require.NoError(t, err)
		const piece = 100_000
		for off := 0; off < len(raw) && err == nil; off += piece {
			err = in.Feed(t.Context(), b.Start()+wal.LSN(off), raw[off:min(off+piece, len(raw))])
		}
		if damaged {
			var corrupt *walrecord.CorruptionError
			require.ErrorAs(t, err, &corrupt)
			require.Less(t, tl.LastLSN(), start)
			continue
		}
		var large *RecordSizeError
		require.ErrorAs(t, err, &large)
		require.Equal(t, RecordSizeError{LSN: start, Size: limit + 1 + walrecord.RecordHeaderSize, Limit: limit}, *large)
		require.Equal(t, before, tl.LastLSN(), "all before it is there")
		require.Greater(t, in.state.storedXID, uint64(5000), "the message's transaction counts")
	}
}

// What is put together of a large record is not copied again: it is the
// Ingester's own.
func TestLargeRecordsAreWhole(t *testing.T) {
	b := newBuilder()
	var subxids []byte
	const subs = 400_000
	for i := range uint32(subs) {
		subxids = append(subxids, put32(1_000_000+i)...)
	}
	for range 2 {
		b.Record(uint8(walrecord.RmgrTransaction), walrecord.XactCommit|walrecord.XactHasInfo, 999_999, payload(walrecord.Record{
			MainData: join(put64(1), put32(walrecord.XinfoSubxacts, subs), subxids),
		}))
	}
	in, tl := ingesterOf(t, b, 2)
	require.NoError(t, in.Feed(t.Context(), b.Start(), b.Bytes()))
	require.Equal(t, b.Position(), tl.LastLSN())
	last := 1_000_000 + subs - 1
	var v pagestore.Value
	require.NoError(t, tl.Get(t.Context(), pagekey.SLRUPage(pagekey.CLOG, uint64(last/32768)), tl.LastLSN(), &v))
	var p page.Page
	require.NoError(t, new(pagekey.Replayer).Page(pagekey.SLRUPage(pagekey.CLOG, uint64(last/32768)), &v, &p))
	require.Equal(t, 1, status(&p, last))
}
