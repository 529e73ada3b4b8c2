package walstore

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// idleHandles is how many files of complete segments a store keeps open for its
// readers. Senders read forward, so two or three are in use at a time.
const idleHandles = 4

// handle is an open segment file with the number of its users.
type handle struct {
	vfs.File
	key     segmentKey
	refs    int  // users at this moment
	dropped bool // not in the table any more: the last user closes it
	used    uint64
}

// handles is the table of open segment files. The lock is not held over I/O
// other than closing.
type handles struct {
	mu     sync.Mutex
	open   map[segmentKey]*handle
	clock  uint64
	closed bool // whatever is added now is closed by its user's release
}

// get returns an open handle with a reference taken, nil if there is none.
func (t *handles) get(k segmentKey) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.open[k]
	if h != nil {
		t.clock++
		h.refs++
		h.used = t.clock
	}
	return h
}

// add puts f into the table with a reference taken, in place of an older handle
// of the key. With keep, an older handle stays and f is closed.
func (t *handles) add(k segmentKey, f vfs.File, keep bool) *handle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = make(map[segmentKey]*handle)
	}
	t.clock++
	if old := t.open[k]; old != nil {
		if keep {
			_ = f.Close() // It was only read.
			old.refs++
			old.used = t.clock
			return old
		}
		t.drop(old)
	}
	h := &handle{File: f, key: k, refs: 1, used: t.clock, dropped: t.closed}
	if t.closed {
		return h
	}
	t.open[k] = h
	t.trim()
	return h
}

// release gives a reference back.
func (t *handles) release(h *handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h.refs--
	if h.refs == 0 && h.dropped {
		_ = h.Close() // Writers close after a sync; readers have nothing to lose.
		return
	}
	t.trim()
}

// forget makes the key's next user open the file anew.
func (t *handles) forget(k segmentKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := t.open[k]; h != nil {
		t.drop(h)
	}
}

func (t *handles) drop(h *handle) {
	delete(t.open, h.key)
	h.dropped = true
	if h.refs == 0 {
		_ = h.Close()
	}
}

// trim closes the longest unused handles above the limit.
func (t *handles) trim() {
	for {
		var oldest *handle
		idle := 0
		for _, h := range t.open {
			if h.refs > 0 {
				continue
			}
			idle++
			if oldest == nil || h.used < oldest.used {
				oldest = h
			}
		}
		if idle <= idleHandles {
			return
		}
		t.drop(oldest)
	}
}

// closeAll closes what nobody uses and lets the last users close the rest.
func (t *handles) closeAll() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	var errs []error
	for k, h := range t.open {
		delete(t.open, k)
		h.dropped = true
		if h.refs == 0 {
			errs = append(errs, h.Close())
		}
	}
	return errors.Join(errs...)
}
