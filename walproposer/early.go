package walproposer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/wal/waltail"
)

const (
	// A read of a segment covers the rest of a page and the next one, where a small
	// commit lies, and more where that was full.
	smallRead = 2 * wal.BlockSize
	largeRead = 256 << 10
)

// early pushes WAL that it finds in pg_wal while PostgreSQL still flushes it; its
// walsender sends nothing before. What the stream then brings must be the same,
// byte for byte. It writes for the tap, in turn with the stream: mu is held
// while either does. In a bulk load the tap is the receiving goroutine's alone.
type early struct {
	t   *tap
	dir string // pg_wal
	tli wal.TLI

	sent  []byte        // of the receiving goroutine, as is came
	came  bool          // the stream has brought something
	begun chan struct{} // closed then

	held atomic.Uint64 // by a quorum
	// want is what a quorum must have before there is something to look for, 0: that
	// waits for nobody. It is set before held is looked at, and looked at after held
	// was set.
	want atomic.Uint64

	mu    sync.Mutex
	pace  pace
	tail  *waltail.Tail // nil: it cannot be told what is WAL
	ahead bytes.Buffer  // what was pushed and has not come by the stream, up to t.at
	no    wal.SegmentNo // of file
	file  *os.File
	buf   []byte
	watch *segmentWatch
}

// newEarly is ready for the first byte of the main connection. It fails where
// pg_wal is not at hand.
func newEarly(ctx context.Context, t *tap) (*early, error) {
	dir, err := walFolder(ctx, t.s.o.origin(), t.s.o.EarlyPush == EarlyPushOn)
	if err != nil {
		return nil, err
	}
	w, err := newSegmentWatch()
	if err != nil {
		return nil, err
	}
	server := &t.s.server
	return &early{
		t: t, dir: dir, watch: w, tli: server.TLIHistory.Last, sent: make([]byte, largeRead/2), begun: make(chan struct{}),
		pace: pace{flushed: t.main, score: trialScore}, buf: make([]byte, largeRead),
		tail: waltail.New(walrecord.ScannerOptions{
			Start: t.main, SegmentSize: server.SegmentSize, PGVersion: server.PGVersion, SystemID: server.SystemID, MaxTLI: server.TLIHistory.Last,
		}),
	}, nil
}

// receive reads the n bytes of WAL that come next from the socket, by m.
func (e *early) receive(ctx context.Context, m *walstream.XLogData, n int) error {
	if !e.came {
		e.came = true
		close(e.begun) // All WAL of older timelines is there.
	}
	if e.leftToStream(m.WALEnd) {
		return e.t.read(ctx, m.Start, n)
	}
	for at := m.Start; n > 0; {
		data := e.sent[:min(n, len(e.sent))]
		if err := e.t.stream.ReadRest(data); err != nil {
			return e.t.ended(err)
		}
		if err := e.stream(ctx, at, data); err != nil {
			return err
		}
		at, n = at+wal.LSN(len(data)), n-len(data)
	}
	return nil
}

// leftToStream says that all WAL is left to the stream, and that it has brought what
// was pushed before. PostgreSQL has flushed so far.
func (e *early) leftToStream(flushed wal.LSN) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.pace.rests()
	if e.pace.hear(flushed); was && !e.pace.rests() {
		e.watch.ring()
	}
	return e.pace.bulk && e.ahead.Len() == 0
}

// stream takes what PostgreSQL sent.
func (e *early) stream(ctx context.Context, at wal.LSN, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.t.stopping.Load() {
		return nil
	}
	if streamed := e.t.at - wal.LSN(e.ahead.Len()); at != streamed {
		return fmt.Errorf("PostgreSQL sends WAL at %s instead of %s", at, streamed)
	}
	pushed := e.ahead.Next(len(data))
	if !bytes.Equal(pushed, data[:len(pushed)]) {
		return e.mismatch(at, pushed, data)
	}
	rest := data[len(pushed):]
	if !e.pace.bulk {
		e.judge(len(rest) == 0)
	}
	if len(rest) == 0 {
		return nil
	}
	if e.tail != nil {
		if err := e.tail.Follow(e.t.at, rest); err != nil {
			e.lose(err)
		}
	}
	if err := e.t.take(ctx, e.t.at, rest); err != nil {
		return err
	}
	if e.want.Load() != 0 {
		e.want.Store(uint64(e.t.at))
	}
	if !e.pace.rests() && (e.file == nil || e.t.s.server.SegmentSize.SegmentNo(e.t.at) != e.no) {
		e.watch.ring() // Another file has to be watched.
	}
	return nil
}

// judge goes on to push early once that has rested.
func (e *early) judge(pushed bool) {
	was := e.pace.rests()
	if e.pace.judge(pushed); was && !e.pace.rests() {
		e.watch.ring()
	}
}

// mismatch ends the walproposer: what a quorum may have is not PostgreSQL's.
func (e *early) mismatch(at wal.LSN, pushed, sent []byte) error {
	i := 0
	for pushed[i] == sent[i] {
		i++
	}
	return refuse("PostgreSQL sends other WAL at %s than its file held, which was pushed early up to %s", at+wal.LSN(i), e.t.at).
		detail("Someone else writes to %s, or the memory or disk of this machine is damaged.", e.dir).
		hint("Stop PostgreSQL and ask `walproposer check --pgdata` before it is started again; run with --no-early-push until the cause is known.")
}

// lose gives up telling WAL from other bytes, for this session.
func (e *early) lose(err error) {
	e.tail = nil
	e.t.s.metrics.earlyOn.Set(0)
	e.t.s.logger.Warn("early push ends for this session", "err", err)
}

// run pushes what appears in pg_wal once there is a term. Without pg_wal it
// leaves everything to the stream.
func (e *early) run(ctx context.Context) error {
	defer e.close()
	for _, c := range []<-chan struct{}{e.t.s.term.d.Elected(), e.begun} {
		select {
		case <-c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer context.AfterFunc(ctx, e.watch.ring)()
	e.t.s.metrics.earlyOn.Set(1)
	for ctx.Err() == nil {
		writes, err := e.advance(ctx)
		if err != nil {
			return err
		}
		if err := e.watch.wait(writes); err != nil {
			return fmt.Errorf("wait for writes to pg_wal: %w", err)
		}
	}
	return context.Cause(ctx)
}

func (e *early) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.t.s.metrics.earlyOn.Set(0)
	e.watch.close()
	if e.file != nil {
		_ = e.file.Close() // Only read.
		e.file = nil
	}
}

// quorumHas says that a quorum has all WAL below l on disk.
func (e *early) quorumHas(l wal.LSN) {
	for old := e.held.Load(); uint64(l) > old; old = e.held.Load() {
		if e.held.CompareAndSwap(old, uint64(l)) {
			break
		}
	}
	if want := e.want.Load(); want != 0 && uint64(l) >= want {
		e.watch.ring()
	}
}

// advance pushes all WAL that is there, but of a bulk load, and unless some is on its
// way to the quorum. Writes to pg_wal call for the next look, if nothing else does.
func (e *early) advance(ctx context.Context) (writes bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	size := smallRead
	for e.mayPush() {
		n, err := e.read(e.buf[:size])
		if err != nil {
			e.lose(err)
			break
		}
		page := int(e.t.at.PageStart() + wal.BlockSize - e.t.at)
		whole := e.tail.Extend(e.buf[:n])
		switch {
		case whole > 0:
			if err := e.push(ctx, e.buf[:whole]); err != nil {
				return false, err
			}
			size = smallRead
			if whole > n-int(wal.BlockSize) {
				size = largeRead
			}
		case size == smallRead && e.isWritten(page, n):
			size = largeRead // A long record, perhaps.
		default:
			return true, nil
		}
	}
	return !e.pace.rests() && e.want.Load() == 0, nil
}

// mayPush says whether to look for WAL that can be pushed. In a bulk load it looks at
// nothing of the tap's.
func (e *early) mayPush() bool {
	e.want.Store(0)
	if e.pace.rests() || e.tail == nil || e.t.stopping.Load() || e.tail.Position() != e.t.at {
		return false
	}
	e.want.Store(uint64(e.t.at))
	held := wal.LSN(e.held.Load())
	if e.t.at <= held {
		e.want.Store(0)
	}
	return e.pace.mayPush(e.t.at, held, e.ahead.Len())
}

// isWritten says whether the page that begins at off in what was read is one of
// this time.
func (e *early) isWritten(off, n int) bool {
	return off+16 <= n && wal.LSN(binary.LittleEndian.Uint64(e.buf[off+8:])) == e.t.at+wal.LSN(off)
}

// read fills buf from the next byte on, 0 bytes where there is no file yet.
func (e *early) read(buf []byte) (int, error) {
	if err := e.open(); err != nil || e.file == nil {
		return 0, err
	}
	n, err := e.file.ReadAt(buf, int64(e.t.s.server.SegmentSize.Offset(e.t.at)))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// push puts WAL into the queue that the stream will bring later.
func (e *early) push(ctx context.Context, data []byte) error {
	before := e.t.at
	if err := e.t.take(ctx, before, data); err != nil {
		return err
	}
	if e.t.at != before { // Else it stops.
		e.ahead.Write(data)
		e.t.s.metrics.early.Add(float64(len(data)))
	}
	return nil
}

// open has file be the segment of the next byte and watches it, once it is there.
// It is watched before it is read, so that no write is missed.
func (e *early) open() error {
	size := e.t.s.server.SegmentSize
	no := size.SegmentNo(e.t.at)
	if e.file != nil && no == e.no {
		return nil
	}
	if e.file != nil {
		_ = e.file.Close() // Only read.
		e.file = nil
	}
	path := filepath.Join(e.dir, size.FileName(e.tli, no))
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // The stream says when to look again.
	}
	if err != nil {
		return err
	}
	e.file, e.no = f, no
	return e.watch.move(path)
}
