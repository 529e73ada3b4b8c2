package shmqueue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

const crashSize = 1 << 17

// crashes runs f as a test for each point, pass and what happens there.
func crashes(t *testing.T, points []string, passes []int, f func(t *testing.T, point, rule string, stop bool)) {
	invariant.Require(t)
	count := 0
	for _, action := range []string{"kill", "stop"} {
		for _, point := range points {
			for _, pass := range passes {
				rule := fmt.Sprintf("%s@%d=%s", point, pass, action)
				if t.Run(rule, func(t *testing.T) { f(t, point, rule, action == "stop") }) {
					count++
				}
			}
		}
	}
	t.Logf("%d of %d crashes went well: %d points, killed and stopped there", count, 2*len(points)*len(passes), len(points))
}

func TestConsumerKilledOrStoppedAtEachStep(t *testing.T) {
	points := []string{"shmqueue/ask", "shmqueue/pin/before", "shmqueue/pin/after", "test/holding", "shmqueue/unpin"}
	crashes(t, points, []int{1, 9}, crashConsumer)
}

// tap is a producer of this process with consumers in others: it does what a
// supervisor does for them.
type tap struct {
	*Shared
	t       *testing.T
	revoked chan SlotID
}

func newTap(t *testing.T, o Options) *tap {
	p := &tap{t: t, revoked: make(chan SlotID, MaxSlots)}
	o.OnRevoke = func(id SlotID) { p.revoked <- id }
	p.Shared = newShared(t, o)
	return p
}

// start starts a consumer at LSN at.
func (p *tap) start(at wal.LSN, rule string) (*child, SlotID) {
	g, err := p.Grant()
	require.NoError(p.t, err)
	c := spawn(p.t, "consume", rule, g.Files[:], append(grantSettings(g), setting("START", uint64(at)))...)
	require.NoError(p.t, g.Close())
	return c, g.ID
}

// follow takes what a consumer tells of its progress, until it ends.
func follow(c *child, at *atomic.Uint64, moved chan struct{}) {
	var m [8]byte
	for {
		if n, err := c.conn.Read(m[:]); err != nil || n != len(m) {
			return
		}
		at.Store(binary.BigEndian.Uint64(m[:]))
		signal(moved)
	}
}

func crashConsumer(t *testing.T, _, rule string, stop bool) {
	const start = 12345
	ctx := context.Background()
	p := newTap(t, Options{Size: crashSize, Start: start, PinGrace: time.Hour})
	seen := make(chan error, 1)
	go func() { seen <- readOn(p.Shared, start) }()
	defer func() {
		p.Shared.Close()
		require.NoError(t, <-seen)
	}()

	victim, id := p.start(start, rule)
	var at atomic.Uint64
	moved := make(chan struct{}, 1)
	go follow(victim, &at, moved)
	feedUntilHalted(t, p, victim, moved)
	p.grace = time.Millisecond
	wrapped := make(chan error, 1)
	go func() { wrapped <- pump(ctx, &p.Local, 3*crashSize) }()
	gone := !stop
	var lapped error
	if stop {
		// What it has pinned is not overwritten before it is gone; without a pin it
		// holds up nobody.
		select {
		case got := <-p.revoked:
			require.Equal(t, id, got)
			gone = true
		case lapped = <-wrapped:
			wrapped <- lapped
		}
	}
	if gone {
		victim.end()
		p.Reap(id)
	} else {
		require.NoError(t, victim.resume(), "lapped several times meanwhile")
	}
	require.NoError(t, <-wrapped)

	var nextAt atomic.Uint64
	nextAt.Store(at.Load())
	next, _ := p.start(wal.LSN(nextAt.Load()), "")
	go follow(next, &nextAt, moved)
	caughtUp := func(at *atomic.Uint64) func() bool { return func() bool { return wal.LSN(at.Load()) == p.Head() } }
	require.Eventually(t, caughtUp(&nextAt), time.Minute, time.Millisecond)
	if !gone {
		require.Eventually(t, caughtUp(&at), time.Minute, time.Millisecond)
		victim.expectEnd(t, p)
	}
	next.expectEnd(t, p)
}

// feedUntilHalted writes one piece after the other, so that the victim sometimes
// has to wait for more, until it reached its fail point.
func feedUntilHalted(t *testing.T, p *tap, victim *child, moved <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	halted := make(chan struct{})
	go func() { defer close(halted); victim.halted(); cancel() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if err := pump(ctx, &p.Local, 3000); !errors.Is(err, context.Canceled) {
			require.NoError(t, err)
		}
		select {
		case <-halted:
			return
		case <-moved:
		case <-tick.C:
		}
	}
}

// readOn reads the known pattern until the queue ends, with a new slot whenever
// it was too slow for the one before.
func readOn(q *Shared, at wal.LSN) error {
	for {
		c, err := q.Register()
		if err != nil {
			return err
		}
		if err := readAll(context.Background(), c, max(at, q.Floor()), 1<<62); !errors.Is(err, ErrRevoked) {
			if errors.Is(err, ErrClosed) {
				return nil
			}
			return err
		}
	}
}

// expectEnd ends the queue and expects that the consumer ends well: it has seen
// no wrong byte.
func (c *child) expectEnd(t *testing.T, p *tap) {
	p.Shared.Close()
	<-c.done
	require.NoError(t, c.err)
}
