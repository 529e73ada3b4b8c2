package sender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// pushFeed is the writer half's own state.
type pushFeed struct {
	pos      wal.LSN // next byte to send
	epoch    int     // the activation that pos belongs to
	lastSent time.Time
	header   []byte
	buf      []byte
}

// feed sends what is committed until ctx is done and the receiver durable, the
// reader half ended, or something failed.
func (p *pushSession) feed(ctx context.Context, ended <-chan struct{}) error {
	f := &pushFeed{
		header: make([]byte, 0, pushwal.MaxAppendHeader),
		buf:    make([]byte, pushwal.MaxAppend),
	}
	for {
		select {
		case <-ctx.Done():
			return p.drain(ctx, f, ended)
		case <-ended:
			return nil
		default:
		}
		view := p.snapshot()
		sent, err := p.step(f, view, p.o.Source.CommitLSN())
		if err != nil {
			return err
		}
		if sent {
			continue
		}
		if err := p.idle(ctx, f, view); errors.Is(err, errSourceEnded) {
			return errors.Join(err, p.drain(ctx, f, ended))
		} else if err != nil {
			return err
		}
	}
}

// errSourceEnded says that the commit position is final: what is committed is
// still brought to the receiver.
var errSourceEnded = errors.New("the timeline is being closed")

// step sends at most one frame of WAL up to limit.
func (p *pushSession) step(f *pushFeed, view pushView, limit wal.LSN) (sent bool, err error) {
	if h := p.o.Source.History(); !h.Equal(p.o.Greeting.TLIHistory) {
		return false, ErrHistoryChanged
	}
	if !view.feedback.Active {
		return false, nil
	}
	if f.epoch != view.epoch {
		f.epoch, f.pos = view.epoch, p.overlapStart(view.feedback.Write)
	}
	if f.pos >= limit {
		return false, nil
	}
	err = p.sendWAL(f, limit)
	if errors.Is(err, errNothingYet) {
		return false, nil
	}
	return true, err
}

// errNothingYet says that bytes below the commit position are not here yet,
// which is in order twice: a timeline was founded and no writer has brought the
// bytes in front of its first record; and the padding behind an XLOG_SWITCH
// record, whose end is the next segment's start, follows the record later.
var errNothingYet = errors.New("no WAL yet")

// overlapStart is where a session begins to send so that the receiver can
// compare the last page that it has with ours.
func (p *pushSession) overlapStart(received wal.LSN) wal.LSN {
	first := p.o.Greeting.SegmentSize.SegmentStart(p.o.Greeting.Start)
	if received <= first {
		return first
	}
	start := max((received - 1).PageStart(), first)
	if oldest := p.o.Source.Oldest(); oldest <= received {
		start = max(start, oldest)
	}
	return start
}

// sendWAL sends one frame from f.pos on: of one timeline, and not above limit.
func (p *pushSession) sendWAL(f *pushFeed, limit wal.LSN) error {
	h := p.o.Greeting.TLIHistory
	tli := h.TLIAt(f.pos)
	end := min(limit, f.pos+wal.LSN(len(f.buf)))
	if sw, _, ok := h.SwitchPoint(tli); ok {
		end = min(end, sw)
	}
	n, err := p.o.Source.ReadAt(f.buf[:end-f.pos], f.pos)
	if n == 0 {
		if oldest := p.o.Source.Oldest(); f.pos < oldest {
			return &PushGapError{Need: f.pos, Oldest: oldest}
		}
		if errors.Is(err, io.EOF) {
			return errNothingYet
		}
		if err == nil {
			err = io.ErrNoProgress
		}
		return fmt.Errorf("read committed WAL at %s: %w", f.pos, err)
	}
	invariant.Point("sender/push/before")
	if err := p.sendFrame(f, f.buf[:n], tli, limit); err != nil {
		return err
	}
	invariant.Point("sender/push/after")
	f.pos += wal.LSN(n)
	p.o.Metrics.sent(n)
	return nil
}

// sendFrame sends data, which begins at f.pos; none of it is a heartbeat.
func (p *pushSession) sendFrame(f *pushFeed, data []byte, tli wal.TLI, commit wal.LSN) error {
	m := pushwal.AppendRequest{
		Term: p.o.Term(), Begin: f.pos, End: f.pos + wal.LSN(len(data)),
		CommitLSN: commit, TLI: tli, CRC: pushwal.Checksum(data), WAL: data,
	}
	f.header = p.codec.AppendAppendRequestHeader(f.header[:0], &m)
	if err := p.stream.Send(f.header, data); err != nil {
		return fmt.Errorf("push WAL: %w", err)
	}
	f.lastSent = time.Now()
	return nil
}

// idle flushes, sends a heartbeat when one is due, and waits for more to
// commit, a report that changes something, or the next heartbeat.
func (p *pushSession) idle(ctx context.Context, f *pushFeed, view pushView) error {
	if time.Since(f.lastSent) >= p.o.Heartbeat {
		invariant.Point("sender/heartbeat/before")
		if err := p.sendFrame(f, nil, p.o.Greeting.TLIHistory.Last, p.o.Source.CommitLSN()); err != nil {
			return err
		}
	}
	if err := p.stream.Flush(); err != nil {
		return fmt.Errorf("push WAL: %w", err)
	}
	wait, cancel := context.WithDeadline(ctx, f.lastSent.Add(p.o.Heartbeat))
	defer cancel()
	if !p.armWake(cancel, view) {
		return nil
	}
	defer p.disarmWake()
	if !view.feedback.Active {
		<-wait.Done() // a stand-by is woken by its heartbeat, not by each commit
		return nil
	}
	commit, err := p.o.Source.WaitCommit(wait, max(f.pos, p.o.Source.CommitLSN()))
	if err != nil && wait.Err() == nil {
		return fmt.Errorf("%w: %w", errSourceEnded, err)
	}
	if err == nil && commit-f.pos < pushwal.MaxAppend {
		linger(wait)
	}
	return nil
}

// lingering is how long a frame may wait for more: nobody's commit waits for
// the receiver, and a frame for each commit would cost the machine that the
// commits need.
const lingering = 5 * time.Millisecond

func linger(ctx context.Context) {
	timer := time.NewTimer(lingering)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// armWake lets the reader half end the wait; false says that it reported
// something since view was taken.
func (p *pushSession) armWake(cancel context.CancelFunc, view pushView) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version != view.version {
		return false
	}
	p.wake = cancel
	return true
}

func (p *pushSession) disarmWake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = nil
}

// drain is the end of a session: an active pusher sends what is committed by
// now and waits until the receiver has it on disk, for at most Drain.
func (p *pushSession) drain(ctx context.Context, f *pushFeed, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.o.Drain)
	defer cancel()
	target := p.o.Source.CommitLSN()
	for ctx.Err() == nil {
		view := p.snapshot()
		if !view.feedback.Active || view.feedback.Flush >= target {
			return nil
		}
		sent, err := p.step(f, view, target)
		if errors.Is(err, ErrHistoryChanged) {
			return nil
		}
		if err != nil {
			return err
		}
		if sent {
			continue
		}
		if err := p.stream.Flush(); err != nil {
			return fmt.Errorf("push WAL: %w", err)
		}
		if p.waitReport(ctx, view, ended) {
			return nil
		}
	}
	return nil
}

// waitReport waits for the next report; true says that none will come.
func (p *pushSession) waitReport(ctx context.Context, view pushView, ended <-chan struct{}) bool {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	if !p.armWake(cancel, view) {
		return false
	}
	defer p.disarmWake()
	select {
	case <-ended:
		return true
	case <-wait.Done():
		return false
	}
}
