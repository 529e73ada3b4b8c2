package sender

import (
	"context"
	"log/slog"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// Source is one timeline's WAL. *replication.Accepting implements it.
type Source interface {
	// SegmentSize of the timeline.
	SegmentSize() wal.SegmentSize
	// History is the PostgreSQL history in force up to what is committed.
	History() wal.TimelineHistory
	// Oldest is the first position that can be read.
	Oldest() wal.LSN
	// FlushLSN is how far WAL is durable here, committed or not.
	FlushLSN() wal.LSN
	// CommitLSN is how far committed senders may send.
	CommitLSN() wal.LSN
	// WaitCommit waits until CommitLSN is above after.
	WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error)
	// ReadAt reads up to len(p) bytes at a position below CommitLSN; an error
	// that wraps walstore.ErrRemoved says that retention was faster.
	ReadAt(p []byte, at wal.LSN) (int, error)
	// Lend lends the file with n bytes below CommitLSN, as walstore.Store.Lend does;
	// what it does not lend is read.
	Lend(at wal.LSN, n int) (walstore.Lent, bool)
	// ReadTerm reads flushed WAL while the node's term is term, checked as if
	// under the lock of the read, and returns the flush position.
	ReadTerm(term wal.Term, p []byte, at wal.LSN) (n int, flush wal.LSN, err error)
	// WaitTerm waits until the flush position is above after; it fails when the
	// term is or becomes another.
	WaitTerm(ctx context.Context, term wal.Term, after wal.LSN) (wal.LSN, error)
}

// Request is a parsed START_REPLICATION.
type Request struct {
	Start wal.LSN
	TLI   wal.TLI // 0 = the current one
	// Term, if not nil, asks for flushed WAL that need not be committed, as long
	// as the node is in that term: for a recovering proposer. Timelines do not
	// end such a stream.
	Term *wal.Term
}

// Options of a session. Only Source must be set.
type Options struct {
	Source  Source
	Logger  *slog.Logger
	Metrics *Metrics
	// Timeout ends a session whose client was silent for so long; after half of
	// it the client is asked for a message. 60 s when zero (wal_sender_timeout).
	Timeout time.Duration
	// Keepalive is the longest silence of this side; 10 s when zero.
	Keepalive time.Duration
	// OnStatus, OnHotStandby and OnPageserver are told what the client reports,
	// on the session's reading goroutine; each may be nil.
	OnStatus     func(*walstream.StatusUpdate)
	OnHotStandby func(*walstream.HotStandbyFeedback)
	OnPageserver func(*pushwal.PageserverFeedback)
	// OnSent is told the position below which everything was handed to the
	// connection, after each frame; may be nil.
	OnSent func(wal.LSN)
	// Drain, when closed, asks the session to end in order: what is committed is
	// sent, the client's confirmation awaited for at most DrainTimeout (10 s),
	// and the end announced as PostgreSQL announces its shutdown.
	Drain        <-chan struct{}
	DrainTimeout time.Duration
}

func (o *Options) setDefaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, "")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Timeout, 60 * time.Second}, {&o.Keepalive, 10 * time.Second}, {&o.DrainTimeout, 10 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
}

// Serve answers START_REPLICATION on w: the stream, its end, and the row that
// names the next timeline. It returns nil when the stream ended in order, or
// what the server is to tell the client, if it is still there.
func Serve(ctx context.Context, w *protocol.ResultWriter, r Request, o Options) error {
	o.setDefaults()
	s := &session{o: o, request: r, tli: r.TLI, at: r.Start}
	over, err := s.choose()
	if err != nil {
		return err
	}
	if over {
		return s.complete(w)
	}
	stream, err := w.CopyBoth()
	if err != nil {
		return err
	}
	if err := s.checkStart(); err != nil {
		return err
	}
	o.Metrics.sessions.Inc()
	defer o.Metrics.sessions.Dec()
	if err := s.run(ctx, stream); err != nil {
		return err
	}
	if s.shutdown {
		return nil
	}
	return s.complete(w)
}

var nextTimelineColumns = []protocol.Column{
	{Name: "next_tli", Type: admin.TypeInt8},
	{Name: "next_tli_startpos", Type: admin.TypeText},
}

// complete sends what follows a stream: the next timeline if this one is over,
// and two command tags.
func (s *session) complete(w *protocol.ResultWriter) error {
	if end, next, historic := s.end(); historic && s.at == end {
		if err := w.Columns(nextTimelineColumns...); err != nil {
			return err
		}
		if err := w.Row(int64(next), end); err != nil {
			return err
		}
	}
	if err := w.Complete("START_STREAMING"); err != nil {
		return err
	}
	return w.Complete("START_REPLICATION")
}
