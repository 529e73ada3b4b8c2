package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// append takes WAL, or none as a heartbeat, from the proposer that is followed.
func (a *Acceptor) append(c *connection, m *pushwal.AppendRequest) (Effects, error) {
	if err := a.checkGeneration(m.Generation); err != nil {
		return Effects{}, err
	}
	if m.Term < a.state.Term { // R7: nothing is written, the proposer learns the term
		return Effects{Send: []Outgoing{{c.id, &pushwal.AppendResponse{
			Generation: a.state.Configuration.Generation,
			Term:       a.state.Term,
		}}}}, nil
	}
	if err := a.checkAppend(c, m); err != nil {
		return Effects{}, err
	}
	var e Effects
	a.commitHeard = max(a.commitHeard, m.CommitLSN)
	a.truncateHeard = max(a.truncateHeard, m.TruncateLSN)
	a.advance(&e)
	if len(m.WAL) == 0 && !a.dirty {
		e.Send = []Outgoing{{c.id, a.response()}}
		return e, nil
	}
	if len(m.WAL) > 0 {
		w := *m
		w.TLI = known(a.state.TLIHistory).TLIAt(m.Begin)
		e.Append = &w
		a.appending = c
	}
	e.NeedSync = true
	a.owe(c)
	return e, nil
}

func (a *Acceptor) checkAppend(c *connection, m *pushwal.AppendRequest) error {
	switch {
	case m.Term > a.state.Term || !a.following || !c.elected || c.term != m.Term: // R5, C7
		return errf(ErrProtocol, "an append of term %d before its proposer's election was announced here", m.Term).term(m.Term)
	case m.End < m.Begin || uint64(m.End-m.Begin) != uint64(len(m.WAL)) || len(m.WAL) > pushwal.MaxAppend:
		return errf(ErrProtocol, "an append of %s..%s carries %d bytes", m.Begin, m.End, len(m.WAL)).at(m.Begin)
	case m.Begin != a.write: // R6
		return errf(ErrPosition, "an append begins at %s, the WAL here ends at %s", m.Begin, a.write).at(a.write)
	case m.TLI == 0 || len(m.WAL) == 0:
		return nil
	}
	h := known(a.state.TLIHistory)
	if tli := h.TLIAt(m.Begin); m.TLI != tli || h.TLIAt(m.End-1) != tli {
		return errf(ErrTimeline, "an append of %s..%s says timeline %d, the history says %d to %d", m.Begin, m.End, m.TLI, tli, h.TLIAt(m.End-1)).at(m.Begin)
	}
	if err := m.CheckCRC(); err != nil {
		e := errf(ErrProtocol, "WAL was damaged on its way").at(m.Begin)
		e.Err = err
		return e
	}
	return nil
}

// advance applies what the proposer said of commit and truncation to the WAL
// that is durable here. The commit position is persisted at once when it
// reaches the term's start, for a headless run waits for that, and else when it
// is a segment ahead of the disk.
func (a *Acceptor) advance(e *Effects) {
	s, flush := &a.state, a.FlushLSN()
	s.TruncateLSN = max(s.TruncateLSN, min(a.truncateHeard, flush))
	commit := min(a.commitHeard, flush)
	if commit <= s.CommitLSN {
		return
	}
	s.CommitLSN = commit
	e.Commit = commit
	reached := commit >= a.termStart && a.saved.commit < a.termStart
	if reached || commit-a.saved.commit >= wal.LSN(s.SegmentSize) {
		e.Save = a.save()
	}
}

// response reports what is durable. The commit position is the persisted one.
func (a *Acceptor) response() *pushwal.AppendResponse {
	r := &pushwal.AppendResponse{
		Generation: a.state.Configuration.Generation,
		Term:       a.state.Term,
		FlushLSN:   a.FlushLSN(),
		CommitLSN:  a.saved.commit,
		DurableLSN: max(a.durable, a.FlushLSN()),
	}
	if a.missing() != 0 {
		// Others hold the WAL in front of its start, and count on this node for it once
		// it acknowledges that: which it does with the bytes only.
		r.FlushLSN, r.DurableLSN = 0, 0
	}
	return r
}

// Appended reports that the log took Effects.Append: write is where the next
// byte goes, writeRecord the end of the last whole record.
func (a *Acceptor) Appended(write, writeRecord wal.LSN) {
	a.write, a.writeRecord, a.dirty = write, writeRecord, true
	if a.appending != nil {
		a.appending.until, a.appending.bytes = writeRecord, write
		a.appending = nil
	}
}

// Synced reports that the log is durable up to flush, and the end of the last
// whole record in that, flushRecord. The effects hold the answers that this made
// possible.
//
// A driver that syncs without holding its lock must read both from the log in
// the same critical section in which it calls Synced: the log may have been cut
// meanwhile.
func (a *Acceptor) Synced(flush, flushRecord wal.LSN) Effects {
	var e Effects
	a.synced(min(flush, a.write), min(flushRecord, a.writeRecord), &e)
	return e
}

func (a *Acceptor) synced(flush, flushRecord wal.LSN, e *Effects) {
	moved := flushRecord > a.flush || flush > a.durable
	a.flush, a.durable = max(a.flush, flushRecord), max(a.durable, flush)
	if a.flush == a.writeRecord && a.durable >= a.write {
		a.dirty = false
	}
	a.advance(e)
	for _, c := range slices.Clone(a.owing) {
		done := c.until <= a.flush && c.bytes <= a.durable
		if moved || done { // a steady stream is answered though it is never done
			e.Send = append(e.Send, Outgoing{c.id, a.response()})
		}
		if done {
			a.settle(c)
		}
	}
}

// owe notes that a connection waits for the log to be durable as far as it is
// written.
func (a *Acceptor) owe(c *connection) {
	c.until, c.bytes = a.writeRecord, a.write
	if !c.owes {
		c.owes = true
		a.owing = append(a.owing, c)
	}
}

// settle notes that a connection waits no more.
func (a *Acceptor) settle(c *connection) {
	if a.appending == c {
		a.appending = nil
	}
	if !c.owes {
		return
	}
	c.owes = false
	a.owing = slices.DeleteFunc(a.owing, func(o *connection) bool { return o == c })
}
