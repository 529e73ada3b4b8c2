package pageserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
)

// Times between attempts after a failure.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// run turns durable WAL into pages until ctx is done.
func (p *pages) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		p.mu.Lock()
		tl, wake := p.tl, p.wake
		p.mu.Unlock()
		if tl == nil {
			select {
			case <-wake:
			case <-ctx.Done():
			}
			continue
		}
		before := tl.LastLSN()
		err := p.replay(ctx, tl)
		if tl.LastLSN() > before {
			retry = firstRetry
		}
		if !p.note(ctx, err) {
			continue
		}
		timer := time.NewTimer(retry)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		retry = min(2*retry, lastRetry)
	}
}

// note keeps why ingest failed, nil when it did not, and says so.
func (p *pages) note(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, errThrownAway) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil || p.failed.Error() != err.Error() {
		p.logger.Error("WAL is not turned into pages", "err", err)
		p.since = time.Now()
	}
	p.failed = err
	p.position.Fail(err)
	return true
}

// fail notes that the pages cannot be used.
func (p *pages) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed, p.since = err, time.Now()
	p.logger.Error("pages are not served", "err", err)
}

// errThrownAway says that there are no pages any more.
var errThrownAway = errors.New("the import was thrown away")

// replayChunk is how much WAL is read at once, in bytes.
const replayChunk = 1 << 20

// replay feeds WAL from where the pages end, as it becomes durable here.
func (p *pages) replay(ctx context.Context, tl *pagestore.Timeline) error {
	c := p.timeline.store.Control()
	in, err := ingest.New(ctx, tl, ingest.Options{
		PGVersion: c.PGVersion, SegmentSize: c.SegmentSize, SystemID: c.SystemID,
		MaxRecord: p.storage.maxRecord, Workers: p.storage.workers, Logger: p.logger, Metrics: p.storage.ingest,
	})
	if err != nil {
		return err
	}
	buf := make([]byte, replayChunk)
	for {
		if err := p.settle(ctx, tl); err != nil {
			return err
		}
		changed := p.timeline.changed()
		at, end := in.Position(), p.timeline.durable()
		if end <= max(at, in.LastRecord()) {
			select {
			case <-changed:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		n, err := p.timeline.store.ReadAt(buf[:min(uint64(len(buf)), uint64(end-at))], at)
		if n == 0 {
			return fmt.Errorf("read WAL at %s: %w", at, err)
		}
		if err := in.Feed(ctx, at, buf[:n]); err != nil {
			return withWayOut(err)
		}
		p.advance(in.LastRecord())
	}
}

// withWayOut adds to the error of a record that is too large, or of what it
// becomes, what can be done.
func withWayOut(err error) error {
	var size *ingest.RecordSizeError
	switch {
	case errors.As(err, &size):
		return fmt.Errorf("%w; start the pageserver with --memory %dMiB or more, for this record at least",
			err, memoryFor(int64(size.Size))>>20)
	case errors.Is(err, pagestore.ErrTooLarge):
		return fmt.Errorf("%w; start the pageserver with more --memory, with which this limit grows", err)
	}
	return err
}

// advance tells that records up to lsn can be read.
func (p *pages) advance(lsn wal.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.position.Advance(lsn)
	if p.failed != nil {
		p.failed = nil
		p.position.Fail(nil)
		p.logger.Info("WAL is turned into pages again", "lsn", lsn)
	}
}
