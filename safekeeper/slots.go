package safekeeper

import (
	"context"
	"fmt"
	"sort"
	"sync"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// slot is one physical replication slot of a timeline on this safekeeper. The
// members exchange the persistent ones: see merge.
type slot struct {
	name        string
	id          uint64  // the same on all members
	restart     wal.LSN // oldest position that the consumer may still ask for; 0 = nothing reserved
	temporary   bool
	owner       uint32 // PID of the session that a temporary slot ends with
	active      uint32 // PID of the session that streams from it, 0 = none
	invalidated bool   // fell behind --max-slot-wal-keep-size; its WAL may be gone

	durable wal.LSN // restart as it is on disk: a crash brings the slot back there

	dropped bool // says only that the slot of that id is gone
}

// slotSet holds the slots of one timeline. Persistent ones are durable before
// a create or drop returns; advances are persisted by persist, which retention
// calls before it removes what a slot no longer needs.
type slotSet struct {
	mu    sync.Mutex
	slots map[string]*slot
	gone  []uint64 // dropped persistent slots, oldest first
	dirty bool

	released chan struct{}      // closed and replaced when a session leaves its slot
	save     func([]slot) error // makes the given persistent slots durable
}

func newSlotSet(loaded []slot, save func([]slot) error) *slotSet {
	s := &slotSet{slots: make(map[string]*slot, len(loaded)), save: save, released: make(chan struct{})}
	for i := range loaded {
		if loaded[i].dropped {
			s.gone = append(s.gone, loaded[i].id)
			continue
		}
		if loaded[i].id == 0 { // written before members exchanged slots
			loaded[i].id, s.dirty = newSlotID(), true
		}
		loaded[i].durable = loaded[i].restart
		s.slots[loaded[i].name] = &loaded[i]
	}
	return s
}

// create adds a slot; restart 0 reserves nothing.
func (s *slotSet) create(name string, temporary bool, restart wal.LSN, pid uint32) error {
	if err := checkSlotName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[name] != nil {
		return errSlotExists(name)
	}
	if len(s.slots) >= maxSlots {
		return errTooManySlots()
	}
	sl := &slot{name: name, id: newSlotID(), temporary: temporary, restart: restart}
	if temporary {
		sl.owner = pid
	}
	s.slots[name] = sl
	if temporary {
		return nil
	}
	if err := s.persistLocked(); err != nil {
		delete(s.slots, name)
		return err
	}
	return nil
}

// drop removes a slot. One that a session streams from is an error, or with
// wait waited for.
func (s *slotSet) drop(ctx context.Context, name string, wait bool) error {
	for {
		s.mu.Lock()
		sl, released := s.slots[name], s.released
		if !wait || sl == nil || sl.active == 0 {
			err := s.dropLocked(name)
			s.mu.Unlock()
			return err
		}
		s.mu.Unlock()
		select {
		case <-released:
		case <-ctx.Done():
			return fmt.Errorf("wait for replication slot %q: %w", name, context.Cause(ctx))
		}
	}
}

func (s *slotSet) dropLocked(name string) error {
	sl := s.slots[name]
	if sl == nil {
		return errSlotMissing(name)
	}
	if sl.active != 0 {
		return errSlotActive(name, sl.active)
	}
	delete(s.slots, name)
	if sl.temporary {
		return nil
	}
	was := s.gone
	s.forgetLocked(sl.id)
	if err := s.persistLocked(); err != nil {
		s.slots[name], s.gone = sl, was
		return err
	}
	return nil
}

// read returns a copy of a slot.
func (s *slotSet) read(name string) (slot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.slots[name]; sl != nil {
		return *sl, true
	}
	return slot{}, false
}

// acquire marks a slot as streamed from by session pid.
func (s *slotSet) acquire(name string, pid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[name]
	switch {
	case sl == nil:
		return errSlotMissing(name)
	case sl.active != 0:
		return errSlotActive(name, sl.active)
	case sl.temporary && sl.owner != pid:
		return errSlotActive(name, sl.owner)
	case sl.invalidated:
		return errSlotInvalidated(name)
	}
	sl.active = pid
	return nil
}

// release ends what acquire began.
func (s *slotSet) release(name string, pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.slots[name]; sl != nil && sl.active == pid {
		sl.active = 0
		close(s.released)
		s.released = make(chan struct{})
	}
}

// confirm moves a slot forward to what its consumer reported as flushed. It
// never moves back: a standby that re-reads a segment reports less at first.
func (s *slotSet) confirm(name string, flushed wal.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.slots[name]; sl != nil && flushed > sl.restart {
		sl.restart = flushed
		s.dirty = s.dirty || !sl.temporary
	}
}

// endSession drops the temporary slots of session pid.
func (s *slotSet) endSession(pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, sl := range s.slots {
		if sl.temporary && sl.owner == pid {
			delete(s.slots, name)
		}
	}
}

// persist makes all confirmed positions durable; nothing is written when
// nothing moved.
func (s *slotSet) persist() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dirty {
		return nil
	}
	return s.persistLocked()
}

func (s *slotSet) persistLocked() error {
	all := s.listLocked(false)
	for _, id := range s.gone {
		all = append(all, slot{id: id, dropped: true})
	}
	if err := s.save(all); err != nil {
		return fmt.Errorf("persist replication slots: %w", err)
	}
	for _, sl := range s.slots {
		sl.durable = sl.restart
	}
	s.dirty = false
	return nil
}

// list returns copies of all slots, by name.
func (s *slotSet) list() []slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listLocked(true)
}

func (s *slotSet) listLocked(withTemporary bool) []slot {
	out := make([]slot, 0, len(s.slots))
	for _, sl := range s.slots {
		if withTemporary || !sl.temporary {
			out = append(out, *sl)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// minRestart is the oldest position that a valid slot reserves, now or after a
// crash; ok is false when none reserves any.
func (s *slotSet) minRestart() (lsn wal.LSN, ok bool) {
	for _, sl := range s.list() {
		at := sl.restart
		if !sl.temporary {
			at = min(at, sl.durable)
		}
		if sl.restart != 0 && !sl.invalidated && (!ok || at < lsn) {
			lsn, ok = at, true
		}
	}
	return lsn, ok
}

// removed invalidates the slots whose WAL below oldest is gone: on a full disk
// that they were given up could not be written down.
func (s *slotSet) removed(oldest wal.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sl := range s.slots {
		if sl.restart != 0 && sl.restart < oldest && !sl.invalidated {
			sl.invalidated, s.dirty = true, true
		}
	}
}

// invalidateBelow gives up the slots that reserve WAL below limit and says
// which. On an error nothing changed, except that a full disk does not keep the
// slots that fill it: after a restart removed finds them.
func (s *slotSet) invalidateBelow(limit wal.LSN) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, sl := range s.slots {
		if sl.restart != 0 && sl.restart < limit && !sl.invalidated {
			sl.invalidated = true
			names = append(names, sl.name)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	sort.Strings(names)
	err := s.persistLocked()
	switch {
	case walstore.IsDiskFull(err):
		s.dirty = true
	case err != nil:
		for _, name := range names {
			s.slots[name].invalidated = false
		}
		return nil, err
	}
	return names, nil
}
