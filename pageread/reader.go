package pageread

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
)

// DefaultWaitTimeout is how long a request waits for WAL.
const DefaultWaitTimeout = 60 * time.Second

// Options of a Reader.
type Options struct {
	Timeline *pagestore.Timeline // required
	Position *Position           // required
	Cache    *Cache              // required; shared by all readers
	Metrics  *Metrics            // nil: not counted

	// Floor is the lowest LSN that may be read: that at which the base of the
	// timeline became consistent.
	Floor wal.LSN
	// SegmentSize of the timeline's WAL; 0 is the default.
	SegmentSize wal.SegmentSize
	WaitTimeout time.Duration // 0 is DefaultWaitTimeout
}

// Reader answers for one timeline. Its methods may be called from any goroutine.
type Reader struct {
	o      Options
	id     wal.TimelineID
	makers sync.Pool // of *maker
}

// maker is the memory in which a page is made.
type maker struct {
	value    pagestore.Value
	replayer pagekey.Replayer
}

// New makes a reader; it starts nothing.
func New(o Options) *Reader {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = wal.DefaultSegmentSize
	}
	if o.WaitTimeout <= 0 {
		o.WaitTimeout = DefaultWaitTimeout
	}
	return &Reader{o: o, id: o.Timeline.ID(), makers: sync.Pool{New: func() any { return new(maker) }}}
}

// Floor is the lowest LSN that can be read as things stand.
func (r *Reader) Floor() wal.LSN { return max(r.o.Floor, r.o.Timeline.CutoffLSN()) }

// Last is the highest LSN that can be read without waiting.
func (r *Reader) Last() wal.LSN { return r.o.Position.Last() }

// Latest as a wanted LSN means the newest.
const Latest = wal.LSN(0xffffffffffffffff)

// At is a position to read at, made by [Reader.At].
type At struct {
	LSN wal.LSN
	// unchanged: the caller's word that what it reads did not change in
	// (unchanged, LSN].
	unchanged wal.LSN
}

// At returns the position at which a request is answered, and waits for it. The
// caller says that what it is about to read did not change in (unchanged, want],
// as pages do not that a PostgreSQL has in its buffers or wrote last; that lets
// an old version answer, and lets nobody wait for WAL that does not concern it:
// the answer is that of the newest LSN if it lies above unchanged and below want.
// Without such knowledge unchanged is 0.
//
// Errors: ErrRequest, *CollectedError, *WaitError, or the context's cause.
func (r *Reader) At(ctx context.Context, want, unchanged wal.LSN) (At, error) {
	switch {
	case want == 0:
		return At{}, fmt.Errorf("%w: LSN %s", ErrRequest, want)
	case want < unchanged:
		return At{}, fmt.Errorf("%w: LSN %s lies below not modified since %s", ErrRequest, want, unchanged)
	}
	if want != Latest {
		want = r.RecordEnd(want)
	}
	unchanged = min(r.RecordEnd(unchanged), want)
	at := At{LSN: min(want, max(r.Last(), unchanged)), unchanged: unchanged}
	if unchanged == 0 {
		at.unchanged = at.LSN
	}
	if err := r.Readable(at.LSN); err != nil {
		return At{}, err
	}
	if r.Last() >= at.LSN {
		return at, nil
	}
	start := time.Now()
	err := r.o.Position.Wait(ctx, at.LSN, r.o.WaitTimeout)
	r.o.Metrics.wait.Observe(time.Since(start).Seconds())
	if err != nil {
		r.o.Metrics.timeouts.Inc()
		return At{}, err
	}
	return at, nil
}

// Exactly returns the position lsn and waits for it: nothing newer and nothing
// older answers. Latest is the newest LSN that can be read.
func (r *Reader) Exactly(ctx context.Context, lsn wal.LSN) (At, error) {
	if lsn == Latest {
		if lsn = r.Last(); lsn == 0 {
			lsn = max(r.Floor(), 1)
		}
	}
	return r.At(ctx, lsn, lsn)
}

// RecordEnd takes a position just behind a page header for the start of the
// page: both follow the same record. Reads do so with the LSN that they are given.
func (r *Reader) RecordEnd(lsn wal.LSN) wal.LSN {
	const short, long = 24, 40
	switch offset := lsn - lsn.PageStart(); {
	case r.o.SegmentSize.Offset(lsn) == long:
		return lsn - long
	case offset == short && r.o.SegmentSize.Offset(lsn) != short:
		return lsn - short
	}
	return lsn
}

// Readable refuses what is not kept with a *CollectedError. Positions that are
// not here yet are readable: a read waits for them.
func (r *Reader) Readable(lsn wal.LSN) error {
	if lsn >= r.Floor() {
		return nil
	}
	if lsn >= r.o.Floor {
		for _, pin := range r.o.Timeline.Pins() {
			if pin.LSN == lsn {
				return nil
			}
		}
	}
	return &CollectedError{Wanted: lsn, Oldest: r.Floor()}
}

// page returns the page of key, which is shared and must not be written to;
// pagestore.ErrNotFound when there is none.
func (r *Reader) page(ctx context.Context, key pagestore.Key, at At) (*page.Page, error) {
	k := cacheKey{timeline: r.id, key: key}
	if p := r.o.Cache.lookup(&k, at.LSN, at.unchanged); p != nil {
		r.o.Metrics.hits.Inc()
		return p, nil
	}
	r.o.Metrics.misses.Inc()
	start := time.Now()
	p, err := r.make(ctx, &k, at.LSN)
	r.o.Metrics.redo.Observe(time.Since(start).Seconds())
	return p, err
}

// make reads from the store what no cached version of a page has yet, and replays
// that.
func (r *Reader) make(ctx context.Context, k *cacheKey, lsn wal.LSN) (*page.Page, error) {
	m := r.makers.Get().(*maker)
	defer r.makers.Put(m)
	v := &m.value
	old, oldFrom, since := r.o.Cache.base(k, lsn)
	if err := r.o.Timeline.GetSince(ctx, k.key, lsn, min(since, lsn), v); err != nil {
		return nil, r.storeError(lsn, err)
	}
	if !v.Found() {
		r.o.Cache.add(k, old, oldFrom, lsn)
		return old, nil
	}
	from := v.LSN()
	p := new(page.Page)
	if err := r.replay(p, m, k.key, old); err != nil {
		return nil, fmt.Errorf("make page at %s: %w", lsn, err)
	}
	r.o.Cache.add(k, p, from, lsn)
	return p, nil
}

// replay makes p of what the store holds, or of that and the cached version from
// before it.
func (r *Reader) replay(p *page.Page, m *maker, key pagestore.Key, old *page.Page) error {
	v := &m.value
	r.o.Metrics.replayed.Add(float64(len(v.Deltas)))
	if v.Whole() {
		return m.replayer.Page(key, v, p)
	}
	*p = *old
	for i := range v.Deltas {
		if err := m.replayer.Apply(p, v.Deltas[i].Record, v.Deltas[i].LSN); err != nil {
			return fmt.Errorf("page %s at %s: %w", key, v.Deltas[i].LSN, err)
		}
	}
	return nil
}

// storeError says in the words of this package that an LSN is gone.
func (r *Reader) storeError(lsn wal.LSN, err error) error {
	if errors.Is(err, pagestore.ErrCollected) {
		return &CollectedError{Wanted: lsn, Oldest: r.Floor()}
	}
	return err
}
