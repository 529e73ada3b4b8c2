package ingest

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
)

// Commit is a committed transaction, as its record says.
type Commit struct {
	LSN  wal.LSN // end of the record
	Time wal.Timestamp
	XID  uint32
}

// putCommits enters the commits since the last batch into the index: every one
// of them, in one entry, so that a time can be looked up exactly at the price of
// some ten bytes a commit. lsn is that of the batch.
//
// The value begins as that of every event, for the newest commit of the list,
// whose LSN is in the key. Then, unless that is all there is to say: the highest
// time of all commits up to here less the newest one's, and, from newer to older,
// how far each lies before the one after it in LSN, time and xid.
func (in *Ingester) putCommits(lsn wal.LSN) {
	n := len(in.commits)
	if n == 0 {
		return
	}
	at := len(in.out.arena)
	c := in.commits[n-1]
	b := binary.LittleEndian.AppendUint64(in.out.arena, uint64(c.Time))
	b = binary.LittleEndian.AppendUint32(b, c.XID)
	if n > 1 || in.state.commitTime != c.Time {
		b = binary.AppendUvarint(b, uint64(in.state.commitTime-c.Time))
	}
	for i := n - 2; i >= 0; i-- {
		older := in.commits[i]
		b = binary.AppendUvarint(b, uint64(c.LSN-older.LSN))
		b = binary.AppendVarint(b, int64(c.Time-older.Time))
		b = binary.AppendVarint(b, int64(int32(c.XID-older.XID)))
		c = older
	}
	in.out.arena = b
	in.addFrom(at, pagekey.Event(uint8(EventCommit), in.commits[n-1].LSN, 0), lsn, pagestore.Image)
	in.commits = in.commits[:0]
}

// parseCommits reads what follows the newest commit in a list. The answer is in
// the order of WAL.
func parseCommits(newest Commit, rest []byte) (commits []Commit, highest wal.Timestamp, err error) {
	commits = append(commits, newest)
	if len(rest) == 0 {
		return commits, newest.Time, nil
	}
	d := varints{rest: rest}
	highest = newest.Time + wal.Timestamp(d.unsigned())
	for c := newest; len(d.rest) > 0 && !d.bad; commits = append(commits, c) {
		back := d.unsigned()
		if back == 0 || back >= uint64(c.LSN) {
			d.bad = true
		}
		c.LSN -= wal.LSN(back)
		c.Time -= wal.Timestamp(d.signed())
		c.XID -= uint32(d.signed())
	}
	if d.bad {
		return nil, 0, fmt.Errorf("commits up to %s: %w", newest.LSN, errEvent)
	}
	for i, k := 0, len(commits)-1; i < k; i, k = i+1, k-1 {
		commits[i], commits[k] = commits[k], commits[i]
	}
	return commits, highest, nil
}

// varints takes numbers of varying length off the front of rest.
type varints struct {
	rest []byte
	bad  bool
}

func (d *varints) unsigned() uint64 {
	v, n := binary.Uvarint(d.rest)
	return advanceBy(d, v, n)
}

func (d *varints) signed() int64 {
	v, n := binary.Varint(d.rest)
	return advanceBy(d, v, n)
}

func advanceBy[T any](d *varints, v T, n int) (out T) {
	if n <= 0 {
		d.rest, d.bad = nil, true
		return out
	}
	d.rest = d.rest[n:]
	return v
}
