package replication

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// execute does what the consensus decided, field by field in the order that
// consensus.Effects prescribes; a.mu is held. Answers are queued, not sent: the
// caller delivers them once the lock is released. s is the session that the
// effects came from.
func (a *Accepting) execute(s *pushSession, e *consensus.Effects) error {
	if err := a.makeDurable(e); err != nil {
		// The acceptor is ahead of the disk: none of this may be answered.
		a.rebuild(err)
		return diskError(err)
	}
	if e.Append != nil {
		if err := a.log.Append(e.Append.TLI, e.Append.Begin, e.Append.WAL); err != nil {
			return diskError(fmt.Errorf("append WAL at %s: %w", e.Append.Begin, err))
		}
		a.hot.append(e.Append.Begin, e.Append.WAL)
		p := a.log.Positions()
		a.acceptor.Appended(p.Write, p.WriteRecord)
	}
	if e.NeedSync {
		s.debt.owe()
	}
	for _, out := range e.Send {
		if to := a.sessions[out.Conn]; to != nil {
			to.queue(out.Msg, to == s)
		}
	}
	a.publish()
	return nil
}

// makeDurable does what has to be on disk before anything is said.
func (a *Accepting) makeDurable(e *consensus.Effects) error {
	if e.SyncFirst {
		if err := a.log.Sync(); err != nil {
			return fmt.Errorf("sync WAL: %w", err)
		}
	}
	if e.Truncate != nil {
		if err := a.truncate(e.Truncate); err != nil {
			return fmt.Errorf("truncate WAL to %s: %w", e.Truncate.To, err)
		}
	}
	if e.Save != nil {
		if err := a.save(e.Save); err != nil {
			return fmt.Errorf("persist state: %w", err)
		}
	}
	return nil
}

func (a *Accepting) truncate(t *consensus.Truncation) error {
	a.cuts++
	a.hot.drop()
	if t.Prefix {
		if err := a.makeUpPrefix(t.To); err != nil {
			return err
		}
	}
	invariant.Point("accepting/truncate/before")
	if err := a.log.Truncate(t.To, a.withReasons(t.History)); err != nil {
		return err
	}
	invariant.Point("accepting/truncate/after")
	return nil
}

// makeUpPrefix fills the first segment up to the first record at start. A part
// of the true bytes may be there, from a proposer that could send them; this one
// cannot send the rest.
func (a *Accepting) makeUpPrefix(start wal.LSN) error {
	if first := a.segmentSize.SegmentStart(start); a.log.Positions().Write > first {
		if err := a.log.Truncate(first, a.log.Control().History); err != nil {
			return err
		}
	}
	return a.log.SynthesizePrefix()
}

// withReasons fills in the reasons of switches that are known here: messages
// carry none, and history files are served with them.
func (a *Accepting) withReasons(h wal.TimelineHistory) wal.TimelineHistory {
	return h.WithReasons(*a.history.Load())
}

// save persists the state, which is the caller's copy, and in the same write the
// PostgreSQL history.
func (a *Accepting) save(state *consensus.State) error {
	state.TLIHistory = a.withReasons(state.TLIHistory)
	encoded, err := state.MarshalBinary()
	if err != nil {
		return err
	}
	invariant.Point("accepting/save/before")
	err = a.log.SaveControl(func(c *walstore.Control) {
		c.State = encoded
		c.History = state.TLIHistory
		c.SystemID = state.SystemID
		c.PGVersion = state.PGVersion
	})
	if err != nil {
		return err
	}
	invariant.Point("accepting/save/after")
	history := state.TLIHistory
	a.history.Store(&history)
	return nil
}

// rebuild drops an acceptor that got ahead of the disk, together with every
// session that may have seen it, and starts again from what is on disk.
func (a *Accepting) rebuild(cause error) {
	a.logger.Error("acceptor starts again from its control file", "error", cause)
	a.metrics.rebuilds.Inc()
	for id, s := range a.sessions {
		s.end(diskError(cause))
		delete(a.sessions, id)
	}
	if err := a.restore(); err != nil {
		a.logger.Error("timeline accepts nothing any more", "error", err)
		a.closed = err
	}
}

// diskError chooses the SQLSTATE of a failure of the log.
func diskError(err error) error {
	var corrupt *walstore.CorruptionError
	switch {
	case walstore.IsDiskFull(err):
		return protocol.Errorf(protocol.CodeDiskFull, "%w", err).
			WithHint("Free space on the safekeeper's disk; WAL is accepted again as soon as there is some.")
	case errors.Is(err, walstore.ErrFenced):
		return protocol.Errorf(codeIOError, "%w", err)
	case errors.As(err, &corrupt):
		return protocol.Errorf(protocol.CodeDataCorrupted, "%w", err)
	}
	return protocol.Errorf(protocol.CodeInternalError, "%w", err)
}

// codeIOError is SQLSTATE io_error.
const codeIOError = "58030"

// refusal chooses the SQLSTATE of a message that the consensus did not accept.
func refusal(err error) error {
	var refused *consensus.Error
	if !errors.As(err, &refused) {
		return protocol.Errorf(protocol.CodeInternalError, "%w", err)
	}
	code := protocol.CodeNotInState
	switch {
	case errors.Is(err, pushwal.ErrMalformed): // a wrong CRC
		code = protocol.CodeDataCorrupted
	case errors.Is(err, consensus.ErrProtocol):
		code = protocol.CodeProtocolViolation
	case errors.Is(err, consensus.ErrIdentity):
		code = protocol.CodeInvalidParameter
	case errors.Is(err, consensus.ErrNegotiation):
		code = protocol.CodeFeatureNotSupported
	}
	return protocol.Errorf(code, "%w", err)
}
