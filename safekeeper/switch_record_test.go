package safekeeper_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// An XLOG_SWITCH record ends at the next segment's start, and so may the commit
// position, before a byte of the padding has arrived. Pushes and peers take what
// there is, and the rest when it comes.
func TestCommitAheadOfThePadding(t *testing.T) {
	o := &origin{systemID: 7_000_000_000_000_000_003, version: 160004, segment: 1 << 20}
	b := walrecordtest.New(walrecordtest.Options{Start: 3 << 20, SegmentSize: o.segment, Major: 16, SystemID: o.systemID})
	o.start, _ = b.Message(100)
	for range 20 {
		b.Message(5000)
	}
	record, boundary := b.Switch()
	_, end := b.Message(300)
	o.from, o.data, o.ends = b.Start(), b.Bytes(), []wal.LSN{end}
	require.Equal(t, o.segment.SegmentStart(boundary), boundary)
	written := record + 24 // the record alone

	ps := startPageserver(t, 9)
	a, peer := startSafekeeper(t, 1, pushingTo(ps)), startSafekeeper(t, 2, nil)
	o.found(t, []*node{a, peer})
	p := propose(t, a, o, 1, nil)
	p.append(written, 0)
	p.waitFlush(boundary)
	p.append(written, boundary)
	a.waitLSN("commit_lsn", boundary)
	ps.waitLSN("last_record_lsn", boundary)
	p.close()
	peer.waitLSN("commit_lsn", boundary)
	requireSameWAL(t, wal.Range{Start: o.from, End: written}, a, peer)
	require.Nil(t, errorOf(a.mustQuery("SHOW SENDERS")[0]))

	p = propose(t, a, o, 2, nil)
	p.append(end, 0)
	p.waitFlush(end)
	p.append(end, end)
	ps.waitLSN("disk_consistent_lsn", end)
	requireSameWAL(t, wal.Range{Start: o.from, End: end}, a, ps)
}

func errorOf(row map[string]string) any {
	if v, ok := row["error"]; ok {
		return v
	}
	return nil
}
