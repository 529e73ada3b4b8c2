package walproposer

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/ownthread"
)

// segmentWatch waits for writes to one file. One goroutine moves it, waits and
// closes it; any may ring.
type segmentWatch struct {
	notify int // inotify
	bell   int // eventfd
	file   int // what is watched, -1 at first
	poller *ownthread.Poller

	mu     sync.Mutex
	closed bool
}

func newSegmentWatch() (*segmentWatch, error) {
	notify, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make inotify: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(notify) // It watches nothing yet.
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	return &segmentWatch{notify: notify, bell: bell, file: -1, poller: ownthread.NewPoller()}, nil
}

// move watches another file.
func (w *segmentWatch) move(path string) error {
	file, err := unix.InotifyAddWatch(w.notify, path, unix.IN_MODIFY)
	if err != nil {
		return fmt.Errorf("watch %s: %w", path, err)
	}
	if w.file >= 0 && file != w.file {
		_, _ = unix.InotifyRmWatch(w.notify, uint32(w.file)) // The file may be gone, and the watch with it.
	}
	w.file = file
	return nil
}

// ring ends a wait, or the next one.
func (w *segmentWatch) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(w.bell, one[:]) // A full counter wakes as well.
}

// wait returns after ring and, if that is asked for, when the file was written to.
// What was written before wait was called counts, unless an earlier wait has told of
// it.
func (w *segmentWatch) wait(forWrites bool) error {
	fds := []unix.PollFd{{Fd: int32(w.bell), Events: unix.POLLIN}, {Fd: int32(w.notify), Events: unix.POLLIN}}
	if !forWrites {
		fds = fds[:1]
	}
	if err := w.poller.Wait(fds); err != nil {
		return fmt.Errorf("poll: %w", err)
	}
	var events [4096]byte
	for _, fd := range fds {
		if fd.Revents != 0 {
			_, _ = unix.Read(int(fd.Fd), events[:]) // Which ones does not matter: the file is looked at.
		}
	}
	return nil
}

func (w *segmentWatch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.poller.Close()
	_ = unix.Close(w.notify)
	_ = unix.Close(w.bell)
}
