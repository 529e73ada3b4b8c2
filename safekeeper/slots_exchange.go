package safekeeper

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

const (
	// exchangeEvery is how often a member asks the others for their slots.
	exchangeEvery = 10 * time.Second
	// maxGone bounds what is remembered of dropped slots. A member that was away
	// while more were dropped brings old ones back; --max-slot-wal-keep-size ends
	// those.
	maxGone = 1000
)

// newSlotID tells a slot and its copies on other members from another one of the
// same name.
func newSlotID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return max(1, binary.BigEndian.Uint64(b[:]))
}

// merge takes over what another member says of its persistent slots: one that is
// new here is copied, one that is known moves forward, one that was dropped goes.
// What is invalid there may be valid here, for each keeps its own WAL; two slots
// that were made under one name independently leave each other alone. oldest is
// the first byte that is here.
func (s *slotSet) merge(theirs []slot, oldest wal.LSN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range theirs {
		own := s.slots[t.name]
		switch {
		case t.dropped:
			s.dropCopyLocked(t.id)
		case slices.Contains(s.gone, t.id), t.temporary, t.id == 0:
		case own == nil && len(s.slots) < maxSlots && checkSlotName(t.name) == nil:
			lost := t.restart != 0 && t.restart < oldest
			s.slots[t.name] = &slot{name: t.name, id: t.id, restart: t.restart, invalidated: lost}
			s.dirty = true
		case own != nil && own.id == t.id && t.restart > own.restart:
			own.restart, s.dirty = t.restart, true
		}
	}
	if !s.dirty {
		return nil
	}
	return s.persistLocked()
}

// dropCopyLocked drops the copy of a slot that was dropped elsewhere. One that a
// session streams from stays until that has ended.
func (s *slotSet) dropCopyLocked(id uint64) {
	for name, sl := range s.slots {
		if sl.id == id && sl.active != 0 {
			return
		}
		if sl.id == id {
			delete(s.slots, name)
		}
	}
	s.forgetLocked(id)
}

// forgetLocked remembers that a slot was dropped.
func (s *slotSet) forgetLocked(id uint64) {
	if slices.Contains(s.gone, id) {
		return
	}
	s.gone = append(s.gone, id)
	s.gone = s.gone[max(0, len(s.gone)-maxGone):]
	s.dirty = true
}

// dropped lists the slots that were dropped, oldest first.
func (s *slotSet) dropped() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.gone)
}

// exchangeSlots asks the other members for their slots until ctx is done, so that
// a receiver which moves to another member finds its slot there, and its WAL.
func (s *Server) exchangeSlots(ctx context.Context, t *timeline) {
	for {
		if pause.For(ctx, exchangeEvery) != nil {
			return
		}
		s.exchangeOnce(ctx, t)
	}
}

func (s *Server) exchangeOnce(ctx context.Context, t *timeline) {
	var wg sync.WaitGroup
	for _, m := range otherMembers(t.accepting.Status()) {
		wg.Go(func() {
			theirs, err := s.slotsOf(ctx, t, m)
			if err == nil {
				err = t.slots.merge(theirs, t.store.Oldest())
			}
			if err != nil && ctx.Err() == nil && !walstore.IsDiskFull(err) {
				t.logger.Debug("slots of another member are not known", "peer", m.ID, "err", err)
			}
		})
	}
	wg.Wait()
}

// slotsOf asks one member.
func (s *Server) slotsOf(ctx context.Context, t *timeline, m pushwal.Member) ([]slot, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	conninfo, err := s.o.Config.Peer.Conninfo(memberAddress(m))
	if err != nil {
		return nil, err
	}
	c, err := replication.Connect(ctx, conninfo, s.dialOptions(t.id))
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	live, err := c.Query(ctx, "SHOW SLOTS")
	if err != nil {
		return nil, err
	}
	gone, err := c.Query(ctx, "SHOW DROPPED_SLOTS")
	if err != nil {
		return nil, err
	}
	return parsePeerSlots(live, gone)
}

// parsePeerSlots reads the answers of SHOW SLOTS and SHOW DROPPED_SLOTS.
func parsePeerSlots(live, gone []replication.Row) (out []slot, err error) {
	id := func(row replication.Row) uint64 {
		n, perr := strconv.ParseUint(row["slot_id"], 16, 64)
		err = cmp.Or(err, perr)
		return n
	}
	// Drops first: a name may have been used again.
	for _, row := range gone {
		out = append(out, slot{id: id(row), dropped: true})
	}
	for _, row := range live {
		sl := slot{name: row["slot_name"], id: id(row), temporary: row["temporary"] != "f"}
		if row["restart_lsn"] != "" {
			var lerr error
			sl.restart, lerr = row.LSN("restart_lsn")
			err = errors.Join(err, lerr)
		}
		out = append(out, sl)
	}
	if err != nil {
		return nil, fmt.Errorf("slots of a member: %w", err)
	}
	return out, nil
}

func formatSlotID(id uint64) string { return fmt.Sprintf("%016x", id) }

func showDroppedSlots(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	for _, id := range t.slots.dropped() {
		if err := emit(formatSlotID(id)); err != nil {
			return err
		}
	}
	return nil
}
