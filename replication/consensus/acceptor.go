package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Acceptor is the acceptor of one timeline: it votes, follows one proposer at a
// time, and knows the commit position. Not safe for concurrent use.
type Acceptor struct {
	id    pushwal.NodeID
	state State
}

// NewAcceptor returns the acceptor that node id is, from its durable state and
// the positions of its recovered log.
func NewAcceptor(id pushwal.NodeID, s State, p Positions) *Acceptor { panic("todo") }

// Step handles a message. With an error nothing has changed: answer with an
// ErrorResponse, close the connection and call Disconnected. The message, its
// WAL included, must stay as it is until the effects are done.
func (a *Acceptor) Step(conn ConnID, m pushwal.ProposerMessage) (Effects, error) { panic("todo") }

// Appended reports that the log took Effects.Append: write is where the next
// byte goes, writeRecord the end of the last whole record.
func (a *Acceptor) Appended(write, writeRecord wal.LSN) { panic("todo") }

// Synced reports that the log is durable up to flushRecord, the end of the last
// whole record. The effects hold the answers that this made possible.
func (a *Acceptor) Synced(flushRecord wal.LSN) Effects { panic("todo") }

// Disconnected forgets a connection. Unknown ones are ignored.
func (a *Acceptor) Disconnected(conn ConnID) { panic("todo") }

// Checkpoint returns the state to persist when positions moved since the last
// save, else nil. Call it now and then, and at shutdown.
func (a *Acceptor) Checkpoint() *State { panic("todo") }

// Report raises positions that the acceptor does not learn from proposers:
// what pageservers made durable and what was uploaded. Zero leaves one alone.
func (a *Acceptor) Report(remoteConsistent, backup wal.LSN) { panic("todo") }

// State returns the state with its newest positions, saved or not.
func (a *Acceptor) State() State { panic("todo") }

// FlushLSN is the end of the last whole durable record, at least the timeline's
// start.
func (a *Acceptor) FlushLSN() wal.LSN { panic("todo") }

// CommitLSN is the newest position known to be committed and durable here.
func (a *Acceptor) CommitLSN() wal.LSN { panic("todo") }

// LastLogTerm is the term of the last history entry at or below FlushLSN.
func (a *Acceptor) LastLogTerm() wal.Term { panic("todo") }

// Writer is the instance of the proposer that is followed in the current term,
// and whether one is.
func (a *Acceptor) Writer() (pushwal.Instance, bool) { panic("todo") }
