package ownthread_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/ownthread"
)

// A poller returns when something has come, before, soon after and long after it
// began to wait; with a place and without.
func TestPollerReturnsWhenSomethingHasCome(t *testing.T) {
	var held []*ownthread.Poller
	for range 2 * places {
		held = append(held, ownthread.NewPoller())
	}
	without := ownthread.NewPoller()
	for _, p := range append(held, without) {
		p.Close()
		p.Close()
	}
	for _, after := range []time.Duration{0, time.Millisecond, 300 * time.Millisecond} {
		for name, p := range map[string]*ownthread.Poller{"with": nil, "without": without} {
			t.Run(name+"/"+after.String(), func(t *testing.T) {
				if p == nil {
					p = ownthread.NewPoller()
					defer p.Close()
				}
				bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
				require.NoError(t, err)
				defer unix.Close(bell) //nolint:errcheck // Of the test.
				rung := make(chan error, 1)
				time.AfterFunc(after, func() {
					_, err := unix.Write(bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
					rung <- err
				})
				fds := []unix.PollFd{{Fd: int32(bell), Events: unix.POLLIN}}
				require.NoError(t, p.Wait(fds))
				require.EqualValues(t, unix.POLLIN, fds[0].Revents)
				require.NoError(t, <-rung)
			})
		}
	}
}
