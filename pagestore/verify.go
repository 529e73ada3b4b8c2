package pagestore

import (
	"context"
	"errors"
	"fmt"
)

// Info is what a timeline takes on disk and in memory.
type Info struct {
	Runs, Layers, Drops int
	LayerBytes          uint64
	Entries             uint64
	MemoryBytes         int64
}

// Info describes the timeline's own layers, without its ancestors'.
func (t *Timeline) Info() Info {
	m := t.acquire()
	if m == nil {
		return Info{}
	}
	defer t.release(m)
	i := Info{Runs: len(m.runs), Drops: len(m.drops.nodes)}
	for _, r := range m.runs {
		i.Layers += len(r.layers)
		i.LayerBytes += r.info.size()
		for _, l := range r.layers {
			i.Entries += l.info.Entries
		}
	}
	for _, mem := range m.mems {
		i.MemoryBytes += mem.bytes()
	}
	return i
}

// Verify reads all layer files of the timeline and compares each with the sum in
// the index. All damage found is in the error, file by file.
func (t *Timeline) Verify(ctx context.Context) error {
	m := t.acquire()
	if m == nil {
		return ErrClosed
	}
	defer t.release(m)
	var errs []error
	for _, r := range m.runs {
		for _, l := range r.layers {
			if err := l.verify(ctx); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("verify timeline %s: %w", t.id, err)
	}
	return nil
}
