package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Acceptor is the acceptor of one timeline: it votes, follows one proposer at a
// time, and knows the commit position. Not safe for concurrent use.
//
// Invariants, once effects are done:
//  1. state.CommitLSN <= FlushLSN(), and neither the term nor the commit
//     position falls.
//  2. saved positions <= those in state; all else in state is durable.
//  3. following implies that the log is a prefix of the WAL of the proposer that
//     won state.Term.
type Acceptor struct {
	id    pushwal.NodeID
	state State     // newest, positions included
	saved positions // of the last Save
	// unsaved is what saved was before the last Checkpoint.
	unsaved positions

	write       wal.LSN // where the next byte goes
	writeRecord wal.LSN // end of the last whole record written
	flush       wal.LSN // end of the last whole record durable
	durable     wal.LSN // end of the bytes durable, or less
	dirty       bool    // something was written since the last sync
	lost        error   // see Err

	following bool    // ProposerElected of state.Term was handled since the start
	termStart wal.LSN // of the proposer that is followed
	instance  pushwal.Instance

	// The proposer's words, applied as far as the own WAL allows and again after
	// each sync.
	commitHeard, truncateHeard wal.LSN

	conns     map[ConnID]*connection
	owing     []*connection // in the order in which they began to wait
	appending *connection   // whose append the driver is executing
}

// positions are the parts of State that may be newer in memory than on disk.
type positions struct {
	commit, truncate, remoteConsistent, backup wal.LSN
}

// connection is what an acceptor knows of one connection of a proposer.
type connection struct {
	id       ConnID
	instance pushwal.Instance // zero: Neon's
	elected  bool             // ProposerElected was handled here,
	term     wal.Term         // in this term
	owes     bool             // an AppendResponse,
	until    wal.LSN          // at least once the log is durable up to here, in whole records
	bytes    wal.LSN          // and in bytes
}

// NewAcceptor returns the acceptor that node id is, from its durable state and
// the positions of its recovered log.
func NewAcceptor(id pushwal.NodeID, s State, p Positions) *Acceptor {
	a := &Acceptor{
		id: id, state: s, write: p.Write, writeRecord: p.FlushRecord, flush: p.FlushRecord, durable: p.FlushRecord,
		conns: make(map[ConnID]*connection),
	}
	a.saved = s.positions()
	if flush := a.FlushLSN(); flush < s.CommitLSN { // C6
		a.lost = errf(ErrHistory, "node %d holds WAL up to %s only, but knew %s to be committed", id, flush, s.CommitLSN).at(flush)
	}
	return a
}

// Err says why this acceptor refuses everything: committed WAL is missing after
// a restart. Such a node has to be filled anew, as a joining member.
func (a *Acceptor) Err() error { return a.lost }

// Step handles a message. With an error nothing has changed: answer with an
// ErrorResponse, close the connection and call Disconnected. The message, its
// WAL included, must stay as it is until the effects are done, and they must be
// done before the next call of any method.
func (a *Acceptor) Step(conn ConnID, m pushwal.ProposerMessage) (Effects, error) {
	if a.lost != nil {
		return Effects{}, a.lost
	}
	c := a.conns[conn]
	if g, ok := m.(*pushwal.ProposerGreeting); ok {
		if c != nil {
			return Effects{}, errf(ErrProtocol, "second greeting on one connection")
		}
		return a.greet(conn, g)
	}
	if c == nil {
		return Effects{}, errf(ErrProtocol, "the first message must be the greeting")
	}
	switch m := m.(type) {
	case *pushwal.VoteRequest:
		return a.vote(c, m)
	case *pushwal.ProposerElected:
		return a.elected(c, m)
	case *pushwal.AppendRequest:
		return a.append(c, m)
	case *pushwal.ConfigurationRequest:
		return a.configure(c, m)
	}
	return Effects{}, errf(ErrProtocol, "a proposer does not send %T", m)
}

// Disconnected forgets a connection. Unknown ones are ignored.
func (a *Acceptor) Disconnected(conn ConnID) {
	c := a.conns[conn]
	if c == nil {
		return
	}
	a.settle(c)
	delete(a.conns, conn)
}

// Checkpoint returns the state to persist when positions moved since the last
// save, else nil. Call it now and then, and at shutdown. When persisting fails,
// say so with CheckpointFailed before anything else.
func (a *Acceptor) Checkpoint() *State {
	if a.saved == a.state.positions() {
		return nil
	}
	a.unsaved = a.saved
	return a.save()
}

// CheckpointFailed takes back that the last Checkpoint was persisted. Everything
// but positions is durable all the same, so that the acceptor goes on.
func (a *Acceptor) CheckpointFailed() { a.saved = a.unsaved }

// save returns a copy of the state to persist.
func (a *Acceptor) save() *State {
	s := a.state
	a.saved = s.positions()
	return &s
}

// Report raises positions that the acceptor does not learn from proposers:
// what pageservers made durable and what was uploaded. Zero leaves one alone.
func (a *Acceptor) Report(remoteConsistent, backup wal.LSN) {
	a.state.RemoteConsistentLSN = max(a.state.RemoteConsistentLSN, remoteConsistent)
	a.state.BackupLSN = max(a.state.BackupLSN, backup)
}

// State returns the state with its newest positions, saved or not.
func (a *Acceptor) State() State { return a.state }

// FlushLSN is the end of the last whole durable record, at least the timeline's
// start.
func (a *Acceptor) FlushLSN() wal.LSN { return max(a.flush, a.state.Start) }

// CommitLSN is the newest position known to be committed and durable here.
func (a *Acceptor) CommitLSN() wal.LSN { return a.state.CommitLSN }

// History is the term history of the WAL that is durable here.
func (a *Acceptor) History() pushwal.TermHistory { return cutHistory(a.state.History, a.FlushLSN()) }

// LastLogTerm is the term of the last history entry at or below FlushLSN.
func (a *Acceptor) LastLogTerm() wal.Term { return lastTerm(a.History()) }

// Joining says whether this node neither votes nor counts: it is being filled,
// its data directory is not the one that the membership means, or committed WAL
// is missing in it (Err).
func (a *Acceptor) Joining() bool {
	return a.lost != nil || a.state.Joining || lostData(a.state.Configuration, a.id, a.state.Incarnation)
}

// Writer is the instance of the proposer that is followed in the current term,
// and whether one is.
func (a *Acceptor) Writer() (pushwal.Instance, bool) { return a.instance, a.following }
