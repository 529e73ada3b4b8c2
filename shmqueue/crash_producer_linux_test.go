package shmqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/wal"
)

func TestProducerKilledOrStoppedAtEachStore(t *testing.T) {
	crashes(t, []string{
		"shmqueue/block/clear", "shmqueue/block/generation", "shmqueue/block/start", "shmqueue/block/bytes",
		"shmqueue/block/stamp", "shmqueue/block/fill",
		"shmqueue/publish/before", "shmqueue/publish/after", "shmqueue/publish/woken",
		"shmqueue/floor/before", "shmqueue/floor/raised",
	}, []int{1, 2, 37}, func(t *testing.T, _, rule string, stop bool) { crashProducer(t, rule, stop, false) })
}

func TestProducerKilledOrStoppedWhileItGrants(t *testing.T) {
	crashes(t, []string{"shmqueue/slot/generation", "shmqueue/slot/live"}, []int{1, 2},
		func(t *testing.T, _, rule string, stop bool) { crashProducer(t, rule, stop, false) })
}

func TestProducerKilledOrStoppedWhileItWaitsForAPin(t *testing.T) {
	crashes(t, []string{"shmqueue/space/wanted", "shmqueue/slot/revoked"}, []int{1},
		func(t *testing.T, _, rule string, stop bool) { crashProducer(t, rule, stop, true) })
}

// crashProducer lets a producer in another process halt, and another take its
// place. One that was stopped goes on beside it. With held, a consumer holds what
// the first producer wants.
func crashProducer(t *testing.T, rule string, stop, held bool) {
	const start = 12345
	grace := time.Hour
	if held {
		grace = time.Millisecond
	}
	first := produceFrom(t, start, rule, grace)
	if held {
		for err := ErrBehindFloor; errors.Is(err, ErrBehindFloor); {
			_, err = first.readers[0].Next(t.Context(), max(start, first.readers[0].Floor()), 0)
			// On a busy machine it may have held it for too long already.
			require.True(t, err == nil || errors.Is(err, ErrBehindFloor) || errors.Is(err, ErrRevoked), "%v", err)
		}
		first.readers, first.at = first.readers[1:], first.at[1:]
	}
	at := first.readUntilHalted(start)
	second := produceFrom(t, at, "", time.Hour)
	require.NoError(t, second.read(at+4*crashSize))
	if !stop {
		return
	}
	// The old one stores into memory of its own.
	require.NoError(t, first.resume())
	require.NoError(t, second.read(at+8*crashSize))
	if !held {
		require.NoError(t, first.read(at+4*crashSize))
	}
}

// origin is a producer in another process and consumers of this one.
type origin struct {
	*child
	t       *testing.T
	halt    chan struct{}
	readers []Consumer
	at      []wal.LSN
}

// produceFrom starts a producer. With a rule it may halt on the way.
func produceFrom(t *testing.T, start wal.LSN, rule string, grace time.Duration) *origin {
	o := &origin{t: t, halt: make(chan struct{}), child: spawn(t, "produce", rule, nil,
		setting("SIZE", crashSize), setting("START", uint64(start)), setting("GRACE", uint64(grace)))}
	go func() {
		defer close(o.halt)
		o.halted()
		_ = o.conn.SetReadDeadline(time.Now())
	}()
	for range 2 {
		a, err := receiveGrant(o.conn)
		if err != nil {
			require.NotEmpty(t, rule, "it ended: %v", err)
			break
		}
		t.Cleanup(func() { require.NoError(t, a.Close()) })
		o.readers, o.at = append(o.readers, lend(t, a)), append(o.at, start)
	}
	_, _ = o.conn.Write([]byte{1})
	return o
}

// each runs f for each reader at once, with where it is.
func (o *origin) each(f func(c Consumer, at *wal.LSN) error) error {
	g := new(errgroup.Group)
	for i, c := range o.readers {
		g.Go(func() error {
			defer c.Unpin()
			return f(c, &o.at[i])
		})
	}
	return g.Wait()
}

// read reads at least up to end.
func (o *origin) read(end wal.LSN) error {
	return o.each(func(c Consumer, at *wal.LSN) error {
		for *at < end {
			f, err := c.Next(o.t.Context(), *at, 0)
			if err := take(c, &f, err, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// readUntilHalted reads until the producer halted, and then all that it left. It
// returns how far each reader is at least.
func (o *origin) readUntilHalted(start wal.LSN) wal.LSN {
	ctx, cancel := context.WithCancel(o.t.Context())
	defer cancel()
	go func() {
		select {
		case <-o.halt:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := o.each(func(c Consumer, at *wal.LSN) error {
		for ctx.Err() == nil {
			f, err := c.Next(ctx, *at, 0)
			if ctx.Err() != nil {
				break
			}
			if err := take(c, &f, err, at); err != nil {
				return err
			}
		}
		for {
			f, ok, err := c.Try(*at, 0)
			if !ok && err == nil {
				return nil
			}
			if err := take(c, &f, err, at); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, ErrRevoked) { // A producer with a short grace may take another's slot, too.
		require.NoError(o.t, err)
	}
	<-o.halt
	if len(o.at) == 0 {
		return start
	}
	return slices.Min(o.at)
}

// take checks what a read gave.
func take(c Consumer, f *Frame, err error, at *wal.LSN) error {
	switch {
	case errors.Is(err, ErrBehindFloor):
		*at = c.Floor()
		return nil
	case err != nil:
		return fmt.Errorf("at %s, head %s, floor %s: %w", *at, c.Head(), c.Floor(), err)
	case f.Range.Start != *at || !f.Intact() || !isPattern(*f):
		return fmt.Errorf("wrong bytes at %s", *at)
	}
	*at = f.Range.End
	return nil
}
