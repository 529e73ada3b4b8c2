package pagestore

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// runMerge merges neighbouring runs of a snapshot into one: it leaves out what
// no readable LSN needs and adds images on top of long chains.
//
// What survives stays exact at its own LSN: an entry is left out only for a base
// above it in the same key, and then everything between the two goes with it.
type runMerge struct {
	t      *Timeline
	m      *layerMap
	inputs []*run
	bottom bool // nothing lies below: neither a run nor a parent
	keep   retention
	out    rollingWriter
	src    *merged
	more   bool // src has an item

	key    Key
	queue  []item // entries of key, copied, newest first
	free   [][]byte
	drops  []drop        // that cover key, newest first
	needed map[drop]bool // hide something that stays
	held   *item         // a tombstone that goes if nothing follows it
	v      Value
	image  []byte // made last, with its kind

	collected int
}

func (j *runMerge) run(ctx context.Context) (info runInfo, err error) {
	last := len(j.inputs) - 1
	info = runInfo{From: j.inputs[last].info.From, To: j.inputs[0].info.To}
	cursors := make([]cursor, len(j.inputs))
	for i, r := range j.inputs {
		cursors[i] = r.cursor(ctx, AllKeys)
	}
	if j.src, err = newMerged(cursors); err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, j.src.close()) }()
	ends := newLifetimes(j.keep, &info, j.m.runs[0].info.To, &j.m.drops)
	j.out = rollingWriter{t: j.t, form: layerForm{j.t.s.o.CompactCompression, j.t.s.o.BlockSize}, ends: ends}
	defer j.out.abort()
	j.needed = map[drop]bool{}
	if j.more, err = j.src.advance(); err != nil {
		return info, err
	}
	for j.more {
		if ctx.Err() != nil {
			return info, ctx.Err()
		}
		if err := j.mergeKey(ctx); err != nil {
			return info, err
		}
	}
	if info.Layers, err = j.out.finish(); err != nil {
		return info, err
	}
	info.Ends = ends.endings(info.size())
	for _, r := range j.inputs {
		for _, d := range r.info.Drops {
			if !j.bottom || j.needed[d] {
				info.Drops = append(info.Drops, d)
			}
		}
	}
	return info, j.t.s.disk.syncFolder(j.t.dir)
}

// fill brings up to n entries of the current key into the queue.
func (j *runMerge) fill(n int) (err error) {
	for len(j.queue) < n && j.more && j.src.item().key == j.key {
		it := *j.src.item()
		var buf []byte
		if last := len(j.free) - 1; last >= 0 {
			buf, j.free = j.free[last], j.free[:last]
		}
		it.stored = append(buf[:0], it.stored...)
		j.queue = append(j.queue, it)
		if j.more, err = j.src.advance(); err != nil {
			return err
		}
	}
	return nil
}

func (j *runMerge) pop() {
	j.free = append(j.free, j.queue[0].stored)
	j.queue = slices.Delete(j.queue, 0, 1)
}

// mergeKey consumes all entries of the next key.
func (j *runMerge) mergeKey(ctx context.Context) error {
	j.key = j.src.item().key
	j.findDrops()
	var base wal.LSN
	above := wal.LSN(math.MaxUint64)
	weight := 0 // of the deltas that stay, down from the last base
	drops := j.drops
	for {
		if err := j.fill(1); err != nil {
			return err
		}
		if len(j.queue) == 0 {
			return j.endKey()
		}
		it := &j.queue[0]
		for len(drops) > 0 && it.lsn < drops[0].lsn {
			base, drops = drops[0].lsn, drops[1:]
		}
		stays := j.keep.needs(it.lsn, base)
		if stays && (above == math.MaxUint64 || above > j.keep.cutoff && it.lsn <= j.keep.cutoff || weight >= j.t.s.o.MaxChainSize && above > it.lsn) {
			made, err := j.makeImage(ctx, drops)
			if err != nil {
				return err
			}
			weight = 0
			it = &j.queue[0] // The queue may have moved.
			if made {
				base = it.lsn
				stays = j.keep.needs(it.lsn, base)
			}
		}
		above = it.lsn
		if it.kind.ends() {
			base, weight = it.lsn, 0
		} else {
			weight += int(deltaWeight(len(it.stored)))
		}
		if !stays {
			j.collected++
		} else if err := j.emit(it); err != nil {
			return err
		}
		j.pop()
	}
}

// findDrops collects the drops that cover the key, newest first.
func (j *runMerge) findDrops() {
	j.drops = j.drops[:0]
	if len(j.m.drops.nodes) == 0 {
		return
	}
	j.m.drops.each(j.key, func(d *drop) { j.drops = append(j.drops, *d) })
	slices.SortFunc(j.drops, func(a, b drop) int {
		if a.lsn > b.lsn {
			return -1
		}
		return 1
	})
}

// emit writes an entry that stays. At the very bottom a tombstone says nothing
// that absence would not say, so it waits for an older entry.
func (j *runMerge) emit(it *item) error {
	for _, d := range j.drops {
		if it.lsn < d.lsn {
			j.needed[d] = true
		}
	}
	if j.held != nil {
		held := *j.held
		j.held = nil
		if err := j.out.add(&held); err != nil {
			return err
		}
	}
	if j.bottom && it.kind == Tombstone {
		held := *it
		held.stored = []byte{byte(Tombstone)}
		j.held = &held
		return nil
	}
	return j.out.add(it)
}

func (j *runMerge) endKey() error {
	if j.held != nil {
		j.held = nil
		j.collected++
	}
	return nil
}

// makeImage writes an image above the first entry of the queue if that is the
// top of a chain of more than MaxChain deltas. drops are those at or below it.
func (j *runMerge) makeImage(ctx context.Context, drops []drop) (made bool, err error) {
	o := &j.t.s.o
	if o.Materialize == nil || j.queue[0].kind != Delta || j.queue[0].ord == math.MaxUint16 {
		return false, nil
	}
	if err := j.fill(o.MaxChain + 1); err != nil {
		return false, err
	}
	var hidden wal.LSN
	if len(drops) > 0 {
		hidden = drops[0].lsn
	}
	if len(j.queue) <= o.MaxChain {
		return false, nil
	}
	for i := range j.queue[:o.MaxChain+1] {
		if j.queue[i].kind != Delta || j.queue[i].lsn < hidden {
			return false, nil
		}
	}
	top := j.queue[0]
	image, err := j.t.materialize(ctx, j.key, top.lsn, &j.v)
	if err != nil || image == nil {
		return false, err
	}
	j.image = append(append(j.image[:0], byte(Image)), image...)
	return true, j.emit(&item{key: top.key, lsn: top.lsn, ord: top.ord + 1, kind: Image, stored: j.image})
}
