package sender

import (
	"context"
	"log/slog"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// Source is one timeline's WAL. *replication.Accepting implements it.
type Source interface {
	// SegmentSize of the timeline.
	SegmentSize() wal.SegmentSize
	// History is the PostgreSQL history in force up to what is committed.
	History() wal.TimelineHistory
	// Oldest is the first position that can be read.
	Oldest() wal.LSN
	// ReadAt reads up to len(p) bytes at a position below CommitLSN; an error
	// that wraps walstore.ErrRemoved says that retention was faster.
	ReadAt(p []byte, at wal.LSN) (int, error)
	// CommitLSN is how far committed senders may send.
	CommitLSN() wal.LSN
	// WaitCommit waits until CommitLSN is above after.
	WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error)
	// ReadTerm reads flushed WAL while the node's term is term, checked under
	// the lock of the read, and returns the flush position.
	ReadTerm(term wal.Term, p []byte, at wal.LSN) (n int, flush wal.LSN, err error)
	// WaitTerm waits until the flush position is above after; it fails when the
	// term is or becomes another.
	WaitTerm(ctx context.Context, term wal.Term, after wal.LSN) (wal.LSN, error)
}

// Request is a parsed START_REPLICATION.
type Request struct {
	Start wal.LSN
	TLI   wal.TLI   // 0 = the current one
	Term  *wal.Term // not nil: uncommitted WAL of this term too, for recovery
}

// Options of a session. Only Source must be set.
type Options struct {
	Source  Source
	Logger  *slog.Logger
	Metrics *Metrics
	// Timeout ends a session whose client was silent for so long; half of it
	// without a message and the client is asked for one. 60 s when zero
	// (wal_sender_timeout).
	Timeout time.Duration
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

// Serve answers START_REPLICATION on w: the stream, its end, and the row that
// names the next timeline. It returns when the client ended the stream in order
// (nil), or with the error to be sent.
func Serve(ctx context.Context, w *protocol.ResultWriter, r Request, o Options) error {
	panic("todo")
}
