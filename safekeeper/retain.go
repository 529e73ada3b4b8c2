package safekeeper

import (
	"context"
	"time"
)

// retainEvery is how often WAL that nobody needs is looked for, and how often
// moved positions are persisted.
const retainEvery = 10 * time.Second

// retain applies retention to a timeline until ctx is done.
func (s *Server) retain(ctx context.Context, t *timeline) {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.retainOnce(t); err != nil {
				t.logger.Error("remove old WAL", "err", err)
			}
		}
	}
}

// retainOnce removes what nobody needs. Slots are persisted first: after a
// crash they must not reserve what has gone.
func (s *Server) retainOnce(t *timeline) error {
	if err := t.accepting.Checkpoint(); err != nil {
		return err
	}
	st := t.accepting.Status()
	lost, err := t.slots.invalidateBelow(slotLimit(st.CommitLSN, uint64(s.o.Config.MaxSlotWALKeepSize)))
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		t.logger.Warn("replication slots invalidated: they were further behind than --max-slot-wal-keep-size", "slots", lost)
	}
	if err := t.slots.persist(); err != nil {
		return err
	}
	in := retentionInput{
		commit: st.CommitLSN, flush: st.FlushLSN, truncate: st.TruncateLSN, oldest: st.Oldest,
		pageservers: t.pushes.positions(s.disk.low()), keepSize: uint64(s.o.Config.WALKeepSize),
	}
	in.slot, in.hasSlot = t.slots.minRestart()
	n, err := t.store.RemoveBefore(retentionHorizon(in))
	if n > 0 {
		t.logger.Info("old WAL removed", "segments", n, "oldest_lsn", t.store.Oldest())
	}
	return err
}
