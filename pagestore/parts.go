package pagestore

import (
	"context"
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// parts is how many of the newest runs have a part of an LSN whose last part is
// not durable. They are not compacted: a crash takes them.
func (m *layerMap) parts(flushed wal.LSN) (n int) {
	for n < len(m.runs) && m.runs[n].info.isPart(flushed) {
		n++
	}
	return n
}

// Abandon forgets the parts of an LSN that was not put to its end, so that it can
// be put again from its first part. Whoever begins to put calls it.
func (t *Timeline) Abandon(ctx context.Context) error {
	if t.open.Load() == 0 {
		return nil
	}
	if err := t.flushing.lock(ctx); err != nil {
		return err
	}
	defer t.flushing.unlock()
	t.putMu.Lock()
	defer t.putMu.Unlock()
	err := t.publish(func(x *index) error {
		x.Runs = slices.DeleteFunc(x.Runs, func(r runInfo) bool { return r.isPart(x.Flushed) })
		return nil
	}, t.forgetParts)
	if err != nil {
		return fmt.Errorf("forget what was put in part at %s: %w", wal.LSN(t.open.Load()), err)
	}
	t.open.Store(0)
	return nil
}

// forgetParts takes the parts out of memory. Layers of parts hold nothing else.
func (t *Timeline) forgetParts(x *index) {
	fresh := t.s.mems.layer(t.LastLSN(), t.s.o.Now())
	t.replace(func(m *layerMap) {
		n := m.parts(x.Flushed)
		for _, r := range m.runs[:n] {
			r.obsolete.Store(true)
		}
		m.runs = m.runs[n:]
		kept := []*memLayer{fresh}
		for i, mem := range m.mems {
			if i == 0 || mem.part {
				t.s.account(-mem.bytes())
				continue
			}
			kept = append(kept, mem)
		}
		m.mems = kept
	})
}
