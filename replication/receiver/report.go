package receiver

import (
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// pace is the shortest time between two status updates that say the same. A
// server whose WAL is not yet flushed here asks again with each answer, so that
// unpaced answers would keep both sides busy for nothing.
const pace = 10 * time.Millisecond

// reports is how other goroutines speak to the reporting one.
type reports struct {
	kick      chan struct{} // has room for one
	requested atomic.Bool   // the server asked for a status update
	ask       atomic.Bool   // ask the server for a message
}

func (r *reports) nudge() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// report sends status updates: at the start, however soon done comes, when
// positions changed, when the server asks, and at the latest after each interval.
// It is a goroutine of its own because a send may have to wait for a server that
// does not read.
func (r *Receiver) report(done <-chan struct{}) {
	var buf []byte
	var last Positions
	var sent time.Time // zero: nothing yet, send at once
	timer := time.NewTimer(r.o.Interval)
	defer timer.Stop()
	for {
		now, positions := time.Now(), r.o.Positions()
		ask := r.reports.ask.Load()
		if wait := r.wait(sent, now); positions == last && !ask && wait > 0 {
			timer.Reset(wait)
		} else {
			r.reports.requested.Store(false)
			r.reports.ask.Store(false)
			var err error
			if buf, err = r.send(buf[:0], positions, ask); err != nil {
				r.stream.Abort(err)
				return
			}
			last, sent = positions, now
			timer.Reset(r.o.Interval)
		}
		select {
		case <-done:
			return
		case <-timer.C:
		case <-r.reports.kick:
		}
	}
}

// wait is how long a status update that says the same as the last one has still
// to wait.
func (r *Receiver) wait(sent, now time.Time) time.Duration {
	if r.reports.requested.Load() {
		return sent.Add(pace).Sub(now)
	}
	return sent.Add(r.o.Interval).Sub(now)
}

func (r *Receiver) send(buf []byte, p Positions, ask bool) ([]byte, error) {
	buf = walstream.AppendStatusUpdate(buf, &walstream.StatusUpdate{
		Write: p.Write, Flush: p.Flush, Apply: p.Apply,
		Time: wal.TimestampOf(time.Now()), ReplyRequested: ask,
	})
	invariant.Point("receiver/report/before")
	if err := r.stream.Send(buf); err != nil {
		return buf, err
	}
	if r.o.Feedback != nil {
		if f := r.o.Feedback(); f != nil {
			message := walstream.AppendPageserverFeedback(nil, pushwal.AppendPageserverFeedback(nil, f))
			if err := r.stream.Send(message); err != nil {
				return buf, err
			}
		}
	}
	return buf, r.stream.Flush()
}
