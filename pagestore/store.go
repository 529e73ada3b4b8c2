package pagestore

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/wal"
)

// Store is a folder of timelines that share a block cache.
type Store struct {
	o          Options
	dir        string
	disk       disk
	tables     tables
	generation uint32
	flushWake  chan struct{}
	mergeWake  chan struct{}
	maps       sync.WaitGroup // snapshots that somebody holds
	memory     atomic.Int64   // bytes of in-memory layers
	mems       memPool

	changing sync.Mutex // held to create and delete timelines
	mu       sync.Mutex // guards what follows
	all      map[wal.TimelineID]*Timeline
	closed   bool
}

// Timeline returns the timeline id, or ErrNoTimeline.
func (s *Store) Timeline(id wal.TimelineID) (*Timeline, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	t := s.all[id]
	if t == nil {
		return nil, fmt.Errorf("timeline %s: %w", id, ErrNoTimeline)
	}
	return t, nil
}

// Timelines lists the timelines by ID.
func (s *Store) Timelines() []*Timeline {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Timeline, 0, len(s.all))
	for _, t := range s.all {
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b *Timeline) int { return cmp.Compare(a.id.String(), b.id.String()) })
	return list
}

// Generation is this writer's generation.
func (s *Store) Generation() uint32 { return s.generation }

// Close releases everything. It flushes nothing: call Flush before, or put again
// from FlushedLSN later. Run must have returned; Close waits for reads in
// progress.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	all := s.all
	s.all = nil
	s.mu.Unlock()
	for _, t := range all {
		t.close()
	}
	s.maps.Wait()
	s.tables.cache.close()
	return nil
}

// account counts bytes of in-memory layers.
func (s *Store) account(bytes int64) {
	s.memory.Add(bytes)
	s.o.Metrics.memory.Add(float64(bytes))
}

// full says that the in-memory layers of all timelines take what they may.
func (s *Store) full() bool { return s.memory.Load() >= s.o.MemTotal }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // Somebody will look anyway.
	}
}

func (s *Store) wakeFlush()   { wake(s.flushWake) }
func (s *Store) wakeCompact() { wake(s.mergeWake) }
