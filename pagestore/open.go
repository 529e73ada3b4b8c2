package pagestore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// Suffixes of folders that are being made or thrown away.
const (
	suffixCreating = ".creating"
	suffixDeleting = ".deleting"
)

// Open opens the store in dir, which is created if need be. Each timeline's
// index is claimed for this writer's generation; ErrFenced when a higher one has
// it. Files that no index names, and unfinished folders, are removed. Nothing
// runs in the background until Run is called.
func Open(dir string, o Options) (*Store, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("open page store %s: %w", dir, err)
	}
	invariant.Point(pointOpenDone)
	return s, nil
}

func open(dir string, o Options) (_ *Store, err error) {
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	s := &Store{
		o: o, dir: dir, disk: disk{FS: o.FS, m: o.Metrics}, all: map[wal.TimelineID]*Timeline{},
		flushWake: make(chan struct{}, 1), mergeWake: make(chan struct{}, 1), mems: memPool{maxChain: uint32(o.MaxChainSize)},
	}
	if err := o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := s.disk.syncFolder(o.FS.PathDir(dir)); err != nil {
		return nil, err
	}
	indexes, err := s.loadAll()
	if err != nil {
		return nil, err
	}
	if err := s.chooseGeneration(indexes); err != nil {
		return nil, err
	}
	s.tables.init(o.CacheSize, o.MaxOpenLayers)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for id := range indexes {
		if err := s.adopt(indexes, id, 0); err != nil {
			return nil, err
		}
	}
	for _, t := range s.all {
		if err := t.claim(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// loadAll reads all indexes and removes unfinished folders.
func (s *Store) loadAll() (map[wal.TimelineID]*index, error) {
	names, err := s.disk.List(s.dir)
	if err != nil {
		return nil, err
	}
	indexes := map[wal.TimelineID]*index{}
	for _, name := range names {
		path := s.disk.PathJoin(s.dir, name)
		if strings.HasSuffix(name, suffixCreating) || strings.HasSuffix(name, suffixDeleting) {
			if err := s.disk.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("remove unfinished folder: %w", err)
			}
			continue
		}
		id, err := wal.ParseTimelineID(name)
		if err != nil || name != id.String() {
			continue // Not ours.
		}
		if indexes[id], err = s.disk.loadIndex(path, id); err != nil {
			return nil, err
		}
	}
	return indexes, nil
}

// chooseGeneration takes the caller's, which must not be lower than a stored
// one, or the next.
func (s *Store) chooseGeneration(indexes map[wal.TimelineID]*index) error {
	var highest uint32
	for _, x := range indexes {
		highest = max(highest, x.Generation)
	}
	s.generation = s.o.Generation
	switch {
	case s.generation == 0 && highest == math.MaxUint32:
		return errors.New("no generation is left")
	case s.generation == 0:
		s.generation = highest + 1
	case s.generation < highest:
		return fmt.Errorf("generation %d is lower than the stored %d: %w", s.generation, highest, ErrFenced)
	}
	return nil
}

// maxAncestors bounds the depth of branches of branches: each is one more place
// to look for a key that was never changed since.
const maxAncestors = 1024

// adopt makes the timeline id, its ancestors first.
func (s *Store) adopt(indexes map[wal.TimelineID]*index, id wal.TimelineID, depth int) error {
	if s.all[id] != nil {
		return nil
	}
	x := indexes[id]
	if depth > maxAncestors {
		return fmt.Errorf("timeline %s has more than %d ancestors", id, maxAncestors)
	}
	// What a crash cut short is put again; its files go with the sweep.
	x.Runs = slices.DeleteFunc(x.Runs, func(r runInfo) bool { return r.isPart(x.Flushed) })
	var parent *Timeline
	if !x.Parent.IsZero() {
		if indexes[x.Parent] == nil {
			return fmt.Errorf("parent %s of timeline %s: %w", x.Parent, id, ErrNoTimeline)
		}
		if err := s.adopt(indexes, x.Parent, depth+1); err != nil {
			return err
		}
		parent = s.all[x.Parent]
	}
	s.all[id] = s.newTimeline(x, s.disk.PathJoin(s.dir, id.String()), parent)
	return nil
}

// claim checks that the files are there, removes those that the index does not
// name, and writes the index anew. The writing fences a former writer, and makes
// durable what a killed process may have named without fsync. Pins of branches
// that do not exist go: their creation or deletion was cut short.
func (t *Timeline) claim() error {
	if err := t.sweep(); err != nil {
		return fmt.Errorf("timeline %s: %w", t.id, err)
	}
	return t.publish(func(x *index) error {
		kept := x.Pins[:0:0]
		for _, p := range x.Pins {
			child, err := wal.ParseTimelineID(p.Name)
			if p.Kind == PinBranch && (err != nil || t.s.all[child] == nil || t.s.all[child].parent != t) {
				continue
			}
			kept = append(kept, p)
		}
		x.Pins = kept
		return nil
	}, t.applyPins)
}

// sweep compares the folder with the index.
func (t *Timeline) sweep() error {
	names, err := t.s.disk.List(t.dir)
	if err != nil {
		return err
	}
	present := map[string]bool{}
	for _, name := range names {
		present[name] = true
	}
	for i := range t.ix.Runs {
		for _, l := range t.ix.Runs[i].Layers {
			name := layerName(&l)
			info, err := t.s.disk.Stat(t.s.disk.PathJoin(t.dir, name))
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					return &CorruptionError{Timeline: t.id, File: name, Offset: -1, Err: errors.New("the index names it, but it is missing")}
				}
				return err
			}
			if uint64(info.Size()) != l.Size {
				return &CorruptionError{Timeline: t.id, File: name, Offset: -1, Err: fmt.Errorf("file has %d bytes, the index says %d", info.Size(), l.Size)}
			}
			delete(present, name)
		}
	}
	for name := range present {
		if l, ok := parseLayerName(name); ok && l.Generation <= t.s.generation {
			if err := t.s.disk.remove(t.s.disk.PathJoin(t.dir, name), pointLayerRemove); err != nil {
				return fmt.Errorf("remove a layer that no index names: %w", err)
			}
		}
	}
	return nil
}
