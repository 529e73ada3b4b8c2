package protocol

import (
	"container/list"
	"net"
	"sync"
)

// waiting are the connections that have not logged in yet. There is a place for
// so many; one more makes the oldest leave. So clients that connect and say
// nothing, however many, keep nobody out who logs in without delay.
type waiting struct {
	limit int
	left  func() // hears of each that had to leave

	mu    sync.Mutex
	conns list.List // of net.Conn, oldest first
}

// enter gives a connection a place; leave ends that and may be called again.
func (w *waiting) enter(nc net.Conn) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns.Len() >= w.limit {
		oldest := w.conns.Front()
		w.conns.Remove(oldest)
		_ = oldest.Value.(net.Conn).Close() // its goroutine ends by that
		w.left()
	}
	place := w.conns.PushBack(nc)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.conns.Remove(place) // does nothing for one that had to leave
	}
}
