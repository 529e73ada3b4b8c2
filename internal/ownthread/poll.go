package ownthread

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller waits for descriptors as a Conn waits for bytes: by a system call that
// blocks, on a thread of its own if there is a place for one. One goroutine uses
// it.
type Poller struct {
	own     bool
	yielded time.Time
	release sync.Once
}

// NewPoller takes a place if there is one.
func NewPoller() *Poller {
	p := &Poller{own: places.Add(-1) >= 0}
	if !p.own {
		places.Add(1)
	}
	return p
}

// Close gives the place back.
func (p *Poller) Close() {
	p.release.Do(func() {
		if p.own {
			places.Add(1)
		}
	})
}

// Wait is poll(2) without an end.
func (p *Poller) Wait(fds []unix.PollFd) error {
	for began := time.Now(); p.own && time.Since(began) < busyFor; {
		if began.Sub(p.yielded) > yieldEvery {
			p.yielded = began
			runtime.Gosched()
		}
		n, _, e := syscall.RawSyscall(syscall.SYS_POLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(patience/time.Millisecond))
		switch {
		case e != 0 && e != unix.EINTR:
			return e
		case e == 0 && n > 0:
			return nil
		}
	}
	for {
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
