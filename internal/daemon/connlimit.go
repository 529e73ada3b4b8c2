package daemon

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// connLimit bounds the connections of an HTTP server: one more than max ends the
// one that has been without a request for longest, or itself if all are being
// answered. So clients that connect and say nothing keep no scrape out.
type connLimit struct {
	max int

	mu     sync.Mutex
	idle   list.List                  // of net.Conn without a request, longest first
	places map[net.Conn]*list.Element // of all; nil for one with a request
}

func newConnLimit(limit int) *connLimit {
	return &connLimit{max: limit, places: map[net.Conn]*list.Element{}}
}

// changed is http.Server's ConnState.
func (l *connLimit) changed(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if place := l.places[c]; place != nil {
		l.idle.Remove(place)
	}
	switch state {
	case http.StateNew:
		if len(l.places) >= l.max && !l.endOne() {
			_ = c.Close() // its goroutine ends by that, and tells us
		}
		l.places[c] = l.idle.PushBack(c)
	case http.StateIdle:
		l.places[c] = l.idle.PushBack(c)
	case http.StateActive:
		l.places[c] = nil
	case http.StateClosed, http.StateHijacked:
		delete(l.places, c)
	}
}

// endOne closes the connection that has been idle for longest.
func (l *connLimit) endOne() bool {
	oldest := l.idle.Front()
	if oldest == nil {
		return false
	}
	c := l.idle.Remove(oldest).(net.Conn)
	delete(l.places, c)
	_ = c.Close() // its goroutine ends by that
	return true
}
