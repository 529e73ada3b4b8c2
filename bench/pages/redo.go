package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// maxRecords are measured at most.
const maxRecords = 1_000_000

// applied is how fast redo is.
type applied struct {
	records   int
	perSecond float64
	decoded   float64 // a second, with the decoding of the record as it is stored
	allocs    float64 // for each record
}

// step is a record and the page that it changes.
type step struct {
	record walrecord.Record
	block  int
	page   *page.Page
	stored []byte // the record as layers hold it
}

// measureRedo applies records of the heap and of B-trees to their pages, decoded
// before, and then as layers hold them. Pages that are not known, for want of an
// image, are left out.
func measureRedo(dir string, from wal.LSN, major int) (a applied, err error) {
	steps, pages, err := collect(dir, from, major)
	if err != nil {
		return a, err
	}
	byPage(steps)
	if err := gather(steps); err != nil {
		return a, err
	}
	a.records = len(steps)
	if a.perSecond, a.allocs, err = timeSteps(steps, pages, applyRecord); err != nil {
		return a, err
	}
	var r pagekey.Replayer
	a.decoded, _, err = timeSteps(steps, pages, func(s *step) error { return r.Apply(s.page, s.stored, s.record.End) })
	return a, err
}

func applyRecord(s *step) error { return redo.Apply(s.page, &s.record, s.block, redo.Options{}) }

// byPage orders records page by page, as requests have it.
func byPage(steps []step) {
	order := map[*page.Page]int{}
	for i := range steps {
		if _, seen := order[steps[i].page]; !seen {
			order[steps[i].page] = len(order)
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(order[a.page], order[b.page]) })
}

// gather brings the records together in memory, in their order, as what a layer
// holds of a page lies together, and decodes them there.
func gather(steps []step) error {
	var size, refs int
	for i := range steps {
		size += len(steps[i].stored)
		refs += len(steps[i].record.Blocks)
	}
	arena, blocks := make([]byte, 0, size), make([]walrecord.Block, refs)
	for i := range steps {
		s := &steps[i]
		at := len(arena)
		arena = append(arena, s.stored...)
		s.stored = arena[at:len(arena):len(arena)]
		n := len(s.record.Blocks)
		s.record.Blocks, blocks = blocks[:0:n], blocks[n:]
		if _, _, _, err := pagekey.DecodeRecord(s.stored, s.record.End, &s.record); err != nil {
			return err
		}
	}
	return nil
}

// timeSteps does something to each step, whose pages are as before the first one.
func timeSteps(steps []step, pages map[*page.Page]*page.Page, f func(s *step) error) (perSecond, allocs float64, err error) {
	for at, before := range pages {
		*at = *before
	}
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	mallocs := m.Mallocs
	runtime.LockOSThread() // Its processor time is told, which other work on the machine does not stretch.
	defer runtime.UnlockOSThread()
	begin := threadTime()
	for i := range steps {
		if err := f(&steps[i]); err != nil {
			return 0, 0, err
		}
	}
	took := threadTime() - begin
	runtime.ReadMemStats(&m)
	return float64(len(steps)) / took.Seconds(), float64(m.Mallocs-mallocs) / float64(len(steps)), nil
}

// ownTime is the processor time of this process.
func ownTime() time.Duration { return usedBy(unix.RUSAGE_SELF) }

// threadTime is the processor time of this thread.
func threadTime() time.Duration { return usedBy(unix.RUSAGE_THREAD) }

func usedBy(who int) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(who, &u) // It cannot fail with these arguments.
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// collector keeps records and brings pages to where they begin.
type collector struct {
	major int
	pages map[pageName]*page.Page
	// before is each page as it is before the first step that is kept.
	before map[*page.Page]*page.Page
	steps  []step
	err    error
}

type pageName struct {
	rel   walrecord.RelFile
	fork  walrecord.Fork
	block uint32
}

// collect reads WAL. Each page begins with its last image before the first record
// that is kept; an image that comes later is a step's page anew.
func collect(dir string, from wal.LSN, major int) ([]step, map[*page.Page]*page.Page, error) {
	c := &collector{major: major, pages: map[pageName]*page.Page{}, before: map[*page.Page]*page.Page{}}
	const size = wal.DefaultSegmentSize
	r := walrecord.NewReader(walrecord.ScannerOptions{Start: from.PageStart(), SegmentSize: size}, c.record)
	for at := from.PageStart(); len(c.steps) < maxRecords; at = size.SegmentStart(at) + wal.LSN(size) {
		data, err := os.ReadFile(filepath.Join(dir, size.FileName(1, size.SegmentNo(at))))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if err := r.Feed(at, data[size.Offset(at):]); walrecord.IsEnd(err) {
			break
		} else if err != nil {
			return nil, nil, errors.Join(err, c.err)
		}
	}
	if len(c.steps) == 0 {
		return nil, nil, errors.New("no records of the heap and of B-trees")
	}
	return c.steps, c.before, c.err
}

func (c *collector) record(start, end wal.LSN, b []byte) error {
	if len(c.steps) >= maxRecords {
		return nil
	}
	r := walrecord.Record{Major: c.major}
	if err := walrecord.Decode(append([]byte(nil), b...), start, end, &r); err != nil {
		return err
	}
	for i := range r.Blocks {
		if err := c.block(&r, i); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) block(r *walrecord.Record, i int) error {
	b := &r.Blocks[i]
	name := pageName{b.Rel, b.Fork, b.Block}
	if b.WillInit || b.HasImage && b.Image.Apply {
		p := new(page.Page) // The page of earlier steps stays theirs.
		if err := redo.Apply(p, r, i, redo.Options{}); err != nil {
			return err
		}
		c.pages[name], c.before[p] = p, new(page.Page)
		*c.before[p] = *p
		return nil
	}
	p := c.pages[name]
	if p == nil || b.HasImage {
		return nil
	}
	if err := redo.Apply(p, r, i, redo.Options{}); err != nil {
		return err
	}
	switch r.RMID {
	case walrecord.RmgrHeap, walrecord.RmgrHeap2, walrecord.RmgrBtree:
		c.steps = append(c.steps, step{record: *r, block: i, page: p, stored: pagekey.AppendRecord(nil, r, i, redo.Options{})})
	default: // It is part of what later steps find.
		delete(c.pages, name)
	}
	return nil
}
