package safekeeper

import (
	"context"
	"strings"

	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/sender"
	"github.com/walhaven/walhaven/wal"
)

// identifyEnd is the position of IDENTIFY_SYSTEM: what is committed, or, for a
// recovering proposer and for peers, what is durable here.
func (t *timeline) identifyEnd(session *protocol.Session) wal.LSN {
	app := session.ApplicationName
	if app == "wal_proposer_recovery" || strings.HasPrefix(app, "safekeeper") {
		return t.accepting.FlushLSN()
	}
	return t.accepting.CommitLSN()
}

// fills says whether a member is filled with what is read: by a proposer, or by itself.
func fills(session *protocol.Session, c admin.StartReplication) bool {
	app := session.ApplicationName
	return c.Term != nil || app == replication.FillApplication || strings.HasPrefix(app, program+"_")
}

// createSlot makes a physical slot. A reserved one holds the WAL from the start
// of the segment that is being committed, where pg_receivewal begins.
func (s *Server) createSlot(session *protocol.Session, t *timeline, c admin.CreateSlot) (walcmd.Result, error) {
	if c.Logical {
		return walcmd.Result{}, walcmd.Refused(c)
	}
	var restart wal.LSN
	if c.ReserveWAL {
		restart = max(t.accepting.SegmentSize().SegmentStart(t.accepting.CommitLSN()), t.accepting.Oldest())
	}
	if err := t.slots.create(c.Slot, c.Temporary, restart, session.PID); err != nil {
		return walcmd.Result{}, err
	}
	if c.Temporary {
		stateOf(session).slots[t] = struct{}{}
	}
	return walcmd.CreateSlot(c.Slot), nil
}

// startReplication streams WAL to the client.
func (s *Server) startReplication(ctx context.Context, session *protocol.Session, t *timeline, c admin.StartReplication, w *protocol.ResultWriter) error {
	if c.Logical {
		return walcmd.Refused(c)
	}
	if c.Slot != "" {
		if err := t.slots.acquire(c.Slot, session.PID); err != nil {
			return err
		}
		defer t.slots.release(c.Slot, session.PID)
	}
	st := newStream(kindSender, session, c.Slot)
	if fills(session, c) {
		st.fills, st.sent = true, c.Start
	}
	t.sessions.add(st)
	defer t.sessions.remove(st)
	if c.Term != nil {
		if err := mayWrite(session, "read WAL that is not committed"); err != nil {
			return err
		}
	}
	return sender.Serve(ctx, w, sender.Request{Start: c.Start, TLI: c.TLI, Term: c.Term}, sender.Options{
		Source: t.accepting, Logger: t.logger, Metrics: s.senders, Timeout: s.o.Config.WALSenderTimeout,
		Drain: s.draining, DrainTimeout: drainTimeout,
		OnSent: st.noteSent,
		OnStatus: func(m *walstream.StatusUpdate) {
			st.noteStatus(m)
			if c.Slot != "" {
				// A standby may be ahead of this node; what is not committed here
				// is nothing that it could be excused from keeping.
				t.slots.confirm(c.Slot, min(m.Flush, t.accepting.CommitLSN()))
			}
		},
		OnHotStandby: func(m *walstream.HotStandbyFeedback) {
			st.noteHotStandby(m)
			t.accepting.SetHotStandby(t.sessions.hotStandby())
		},
		OnPageserver: func(f *pushwal.PageserverFeedback) { t.accepting.RelayPageserver(*f) },
	})
}

// noteHotStandby keeps what a standby still needs.
func (s *stream) noteHotStandby(m *walstream.HotStandbyFeedback) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hot = pushwal.HotStandbyFeedback{Time: m.Time, Xmin: m.FullXmin(), CatalogXmin: m.FullCatalogXmin()}
}
