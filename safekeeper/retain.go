package safekeeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// retainEvery is how often WAL that nobody needs is looked for, and how often
// moved positions are persisted.
const retainEvery = 10 * time.Second

// retainLow is the pause while free space is below --min-free-disk.
const retainLow = time.Second

// retain applies retention to a timeline until ctx is done.
func (s *Server) retain(ctx context.Context, t *timeline) {
	for {
		for waited := time.Duration(0); waited < retainEvery; waited += retainLow {
			if pause.For(ctx, retainLow) != nil {
				return
			}
			if s.disk.low() {
				break // what gives way has to do so before the disk is full
			}
		}
		if err := s.retainOnce(t); err != nil {
			t.logger.Error("remove old WAL", "err", err)
		}
	}
}

// retainOnce removes what nobody needs. Positions and slots are persisted first:
// after a crash they must not lie in what has gone. On a full disk that may fail,
// and removing WAL is what gives the space for it; then what is on disk already
// decides.
func (s *Server) retainOnce(t *timeline) error {
	full := t.accepting.Checkpoint()
	if full != nil && !walstore.IsDiskFull(full) {
		return full
	}
	st, err := t.durable()
	if err != nil {
		return err
	}
	limit := slotLimit(st.CommitLSN, uint64(s.o.Config.MaxSlotWALKeepSize))
	lost, err := t.slots.invalidateBelow(limit)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		t.logger.Warn("replication slots invalidated: they were further behind than --max-slot-wal-keep-size", "slots", lost)
	}
	if err := t.slots.persist(); err != nil {
		if !walstore.IsDiskFull(err) {
			return err
		}
		full = errors.Join(full, err)
	}
	in := retentionInput{
		commit: st.CommitLSN, flush: t.accepting.FlushLSN(), truncate: st.TruncateLSN, limit: limit, oldest: t.store.Oldest(),
		keepSize: uint64(s.o.Config.WALKeepSize), segment: t.store.Control().SegmentSize,
	}
	in.filling = t.sessions.filling(time.Now())
	in.slot, in.hasSlot = t.slots.minRestart()
	if full != nil {
		// Recovery begins at the watermark, which cannot be moved now.
		in.flush = min(in.flush, t.store.Control().Watermark)
	}
	n, err := s.remove(t, in)
	if n > 0 {
		t.logger.Info("old WAL removed", "segments", n, "oldest_lsn", t.store.Oldest())
	}
	if n > 0 && st.TruncateLSN < t.store.Oldest() {
		t.logger.Warn("WAL that a member lacks was removed: it lags by more than --max-slot-wal-keep-size and cannot be filled any more",
			"member_has", st.TruncateLSN, "oldest_lsn", t.store.Oldest())
	}
	return errors.Join(full, err)
}

// remove removes what in leaves over. Timelines on a disk that is about to be full
// do so one after another: each takes only what is still needed.
func (s *Server) remove(t *timeline, in retentionInput) (int, error) {
	if s.disk.low() {
		s.givingWay.Lock()
		defer s.givingWay.Unlock()
		in.need = s.disk.missing()
	}
	in.pageservers = t.pushes.positions(in.need > 0)
	horizon := retentionHorizon(in)
	unsaved := t.noteGaps(in.segment.SegmentStart(horizon))
	if unsaved != nil && !walstore.IsDiskFull(unsaved) {
		return 0, unsaved
	}
	n, err := t.store.RemoveBefore(horizon)
	return n, errors.Join(unsaved, err)
}

// noteGaps writes down which pageservers will lack WAL below horizon, and forgets
// the gaps of those that have come by theirs.
func (t *timeline) noteGaps(horizon wal.LSN) error {
	var errs []error
	for _, p := range t.pushes.list() {
		f := p.view().feedback
		t.filled(p.addr, max(f.Flush, f.Remote))
		has := max(f.Flush, f.Remote, t.store.Control().Start)
		began, err := t.gaps.widen(p.addr, has, min(horizon, t.accepting.CommitLSN()))
		if began {
			t.logger.Warn("WAL that a pageserver lacks is removed: free space was below --min-free-disk",
				"pageserver", p.addr, "it_has", has, "oldest_lsn", horizon)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// durable is the acceptor's state as it is on disk.
func (t *timeline) durable() (s consensus.State, err error) {
	if err := s.UnmarshalBinary(t.store.Control().State); err != nil {
		return s, fmt.Errorf("read state of timeline %s: %w", t.id, err)
	}
	return s, nil
}
