package consensus

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Causes of an Error, for errors.Is.
var (
	ErrProtocol      = errors.New("protocol violation")            // a message that the protocol does not allow here
	ErrIdentity      = errors.New("foreign cluster")               // tenant, timeline, system identifier, version or segment size differ
	ErrNegotiation   = errors.New("peer lacks walhaven's options") // and this timeline needs them
	ErrConfiguration = errors.New("membership configuration differs")
	ErrNotMember     = errors.New("not a voting member")
	ErrHigherTerm    = errors.New("a higher term exists")
	ErrRival         = errors.New("another proposer took the term")
	ErrPosition      = errors.New("WAL position does not fit")
	ErrHistory       = errors.New("term history does not fit")
	ErrTimeline      = errors.New("PostgreSQL timeline does not fit")
	ErrProof         = errors.New("WAL is not provably a continuation")
	ErrStopped       = errors.New("the proposer has ended")
)

// ErrPromotedTwice is the ErrTimeline of two servers that were promoted to one
// timeline at different positions.
var ErrPromotedTwice = fmt.Errorf("%w: two servers were promoted to it", ErrTimeline)

// Error is what the state machines return. Cause is one of the sentinels above
// and is found by errors.Is, as is Err.
type Error struct {
	Cause error
	Node  pushwal.NodeID // the other side or the one meant, 0 = none
	Term  wal.Term       // the higher term of ErrHigherTerm, else the one in force, 0 = none
	LSN   wal.LSN        // the position in question, 0 = none
	Err   error          // what the driver reported (ErrProof), or nil
	msg   string
}

// Error is one line without the sentinel's text, which the message implies.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.msg + ": " + e.Err.Error()
	}
	return e.msg
}

// Unwrap returns the cause and the driver's error.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Cause}
	}
	return []error{e.Cause, e.Err}
}

func errf(cause error, format string, args ...any) *Error {
	return &Error{Cause: cause, msg: fmt.Sprintf(format, args...)}
}

func (e *Error) node(n pushwal.NodeID) *Error { e.Node = n; return e }
func (e *Error) term(t wal.Term) *Error       { e.Term = t; return e }
func (e *Error) at(l wal.LSN) *Error          { e.LSN = l; return e }
