package shmqueue

import (
	"time"

	"github.com/walhaven/walhaven/wal"
)

// defaultPinGrace is how long the producer waits for a pin before it revokes
// the slot. The consumer is a whole ring behind by then, so a short time does.
const defaultPinGrace = 50 * time.Millisecond

// Options are the settings of a queue.
type Options struct {
	// Size in bytes, rounded up to a power of two.
	Size int
	// Start is the LSN of the first byte that will be written.
	Start wal.LSN
	// PinGrace is how long the producer waits for a pinned range before it
	// revokes the slot; 0 means 50 ms.
	PinGrace time.Duration
	// OnRevoke is told, once for each, of slots granted to other processes that
	// the producer needs back: the process has to be killed and reaped, then Reap
	// called. It is called by the goroutine that writes, which waits for nothing
	// else meanwhile, so it must not block.
	OnRevoke func(SlotID)
}

// Local is the queue between the goroutines of one process.
type Local struct {
	writer
}

var _ Producer = (*Local)(nil)

// NewLocal makes an empty queue that begins at o.Start.
func NewLocal(o Options) (*Local, error) {
	size, err := RingSize(o.Size)
	if err != nil {
		return nil, err
	}
	words := make([]slotWords, MaxSlots)
	q := new(Local)
	q.init(newWindow(size, o.Start), func(i int) *slotWords { return &words[i] }, o)
	return q, nil
}

var epoch = time.Now()

// Now is the clock of Frame.Published: monotonic, in nanoseconds.
func Now() int64 { return int64(time.Since(epoch)) }

// At is that clock at t.
func At(t time.Time) int64 { return int64(t.Sub(epoch)) }
