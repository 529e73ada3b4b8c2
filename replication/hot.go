package replication

import (
	"context"
	"sync/atomic"

	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// hotSize is how much WAL in bytes is kept in memory for a timeline that is being
// read near its end.
const hotSize = 512 << 10

// hot keeps the newest WAL of a timeline in memory for those who send it on, so
// that it is not read from its file again. It is there only while somebody reads
// near the end: a timeline that nobody reads takes no memory. The zero value is
// ready.
type hot struct {
	queue atomic.Pointer[hotQueue]
	// wanted says that somebody read what would have been here.
	wanted atomic.Bool
	// hits counts reads that were answered.
	hits atomic.Uint64
	seen uint64 // hits at the last rest
}

// hotQueue is a queue with the consumers that are not in use.
type hotQueue struct {
	*shmqueue.Local
	idle chan shmqueue.Consumer
}

// append adds what was appended to the log. Nobody is waited for but for readers
// in the middle of a copy. One goroutine at a time may call it, or drop or rest.
func (h *hot) append(at wal.LSN, data []byte) {
	if len(data) == 0 {
		return
	}
	q := h.queue.Load()
	if q != nil && q.Head() != at {
		h.drop()
		q = nil
	}
	if q == nil {
		if !h.wanted.Load() {
			return
		}
		local, err := shmqueue.NewLocal(shmqueue.Options{Size: hotSize, Start: at})
		if err != nil {
			return // The log has everything.
		}
		q = &hotQueue{Local: local, idle: make(chan shmqueue.Consumer, shmqueue.MaxSlots)}
	}
	// The log is what keeps WAL: here all may be overwritten.
	q.Release(at + wal.LSN(len(data)))
	if err := q.Write(context.Background(), data); err != nil {
		h.drop()
		return
	}
	h.queue.Store(q)
}

// drop forgets everything: the log was cut, or is looked at anew. Reads that are
// under way still see what was there.
func (h *hot) drop() { h.queue.Store(nil) }

// rest forgets everything if nothing was read since the last call.
func (h *hot) rest() {
	if n := h.hits.Load(); n != h.seen {
		h.seen = n
		return
	}
	h.wanted.Store(false)
	h.drop()
}

// read fills p with WAL from at on, if all of it is here. end is the end of what
// is readable: a read near it makes that the next ones find what they want.
func (h *hot) read(p []byte, at, end wal.LSN) bool {
	q := h.queue.Load()
	if q == nil {
		if at+hotSize/2 >= end {
			h.wanted.Store(true)
		}
		return false
	}
	if len(p) == 0 || at < q.Floor() || at+wal.LSN(len(p)) > q.Head() {
		return false
	}
	var c shmqueue.Consumer
	select {
	case c = <-q.idle:
	default:
		var err error
		if c, err = q.Register(); err != nil {
			return false
		}
	}
	for done := 0; done < len(p); {
		f, ok, err := c.Try(at+wal.LSN(done), 0)
		if !ok || err != nil || !f.Intact() {
			c.Close()
			return false
		}
		n := copy(p[done:], f.Parts[0])
		done += n + copy(p[done+n:], f.Parts[1])
	}
	c.Unpin()
	q.idle <- c
	h.hits.Add(1)
	return true
}
