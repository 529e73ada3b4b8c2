package pageserver

import (
	"context"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// source serves the WAL of a timeline here by START_REPLICATION. All of it is
// committed; what is sent is what is durable here.
type source struct{ t *timeline }

func (s source) SegmentSize() wal.SegmentSize             { return s.t.store.Control().SegmentSize }
func (s source) Oldest() wal.LSN                          { return s.t.store.Oldest() }
func (s source) ReadAt(p []byte, at wal.LSN) (int, error) { return s.t.store.ReadAt(p, at) }
func (s source) FlushLSN() wal.LSN                        { return s.t.durable() }
func (s source) CommitLSN() wal.LSN                       { return s.t.durable() }

func (s source) Lend(at wal.LSN, n int) (walstore.Lent, bool) { return s.t.store.Lend(at, n) }

// History leaves out what has no byte here yet.
func (s source) History() wal.TimelineHistory {
	h := s.t.store.Control().History
	end := s.t.durable()
	for n := len(h.Ancestors); n > 0 && h.Ancestors[n-1].Switch >= end; n = len(h.Ancestors) {
		h, _ = h.Upto(h.Ancestors[n-1].TLI)
	}
	return h
}

func (s source) WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error) {
	return s.t.waitDurable(ctx, after)
}

func (s source) ReadTerm(wal.Term, []byte, wal.LSN) (int, wal.LSN, error) {
	return 0, 0, errNoTerms
}

func (s source) WaitTerm(context.Context, wal.Term, wal.LSN) (wal.LSN, error) {
	return 0, errNoTerms
}

var errNoTerms = protocol.Errorf(protocol.CodeFeatureNotSupported, "a pageserver has committed WAL only, and no terms")
