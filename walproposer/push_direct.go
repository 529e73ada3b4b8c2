package walproposer

import (
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/shmqueue"
)

// ringer is a queue that calls whoever wants to know of WAL.
type ringer interface {
	RingBy(id shmqueue.SlotID, f func() bool)
}

// directFrame is how many bytes of WAL are sent directly at the most. What is
// longer is a bulk load's, where one more wake-up does not count.
const directFrame = 32 << 10

// direct sends WAL that was put into the queue a moment ago. It is called by
// whoever put it there, in place of waking the sending goroutine: that saves a
// commit a switch between threads for each safekeeper. It waits for nothing; what
// it cannot do at once is left to the sending goroutine (false), which learns of a
// failure as well.
func (c *pushConn) direct() bool {
	if !c.turn.TryLock() {
		return false
	}
	defer c.turn.Unlock()
	if c.mayWait() {
		c.kept = true
		c.consumer.Ask()
		return true
	}
	for !c.unwritten {
		f, ok, err := c.consumer.Try(c.at, c.start.bound(c.at))
		if err != nil {
			return false
		}
		if !ok {
			return c.caughtUp
		}
		sent := f.Range.Len() <= directFrame && c.trySend(f)
		c.consumer.Unpin()
		if !sent {
			return false
		}
	}
	return false
}

// mayWait says whether all that there is to send may be sent later. The commit
// position has the sending goroutine wake then, or its link, which looks now and then.
func (c *pushConn) mayWait() bool {
	return c.hurry != nil && c.caughtUp && !c.unwritten && c.consumer.Head()-c.at <= directFrame && c.t.spares.mayWait(c.peer, c.last)
}

// trySend is sendFrame that waits for nothing. A frame may be sent in part: then
// the rest is unwritten.
func (c *pushConn) trySend(f shmqueue.Frame) bool {
	began := c.frame(f)
	invariant.Point("walproposer/push/before")
	taken, written := c.stream.TrySend(c.parts[:]...)
	if !taken {
		return false
	}
	c.unwritten = !written
	c.handedOver(began, f)
	return true
}
