package walproposer_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

// gate passes connections on to a safekeeper, and holds its answers back while it is
// locked.
type gate struct {
	sync.RWMutex
	address string
}

func newGate(t *testing.T, to string) *gate {
	g := new(gate)
	g.address = relay(t, to, func(_ context.Context, client io.Writer, server io.Reader) {
		_, _ = io.Copy(writerBehind{g, client}, server)
	})
	return g
}

type writerBehind struct {
	g  *gate
	to io.Writer
}

func (w writerBehind) Write(p []byte) (int, error) {
	w.g.RLock()
	defer w.g.RUnlock()
	return w.to.Write(p)
}

// Of three safekeepers on one machine one is spare. Whichever falls silent, commits
// go on with the other two, and each has everything once it answers again.
func TestSpareSafekeeperStandsIn(t *testing.T) {
	if inProcess() {
		t.Skip("with --in-process nobody is spare")
	}
	w := newWorld(t, computetest.Options{})
	o := w.options()
	gates := make([]*gate, len(o.Safekeepers))
	for i, k := range w.keepers {
		gates[i] = newGate(t, k.addr)
		o.Safekeepers[i] = gates[i].address
	}
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	spare := func(n float64) {
		t.Helper()
		require.Eventually(t, func() bool { return p.counter("walhaven_walproposer_spare_safekeepers") == n }, patience, 10*time.Millisecond)
	}
	spare(1)
	silent := func(i int, g *gate) {
		g.Lock()
		defer g.Unlock()
		for row := range 3 {
			require.NoError(t, w.insert(3*i+row))
		}
	}
	for i, g := range gates {
		silent(i, g)
		spare(1)
	}
	require.GreaterOrEqual(t, p.counter("walhaven_walproposer_hedges_total"), 1.0)
	require.Eventually(t, func() bool {
		all := w.statuses()
		for _, s := range all[1:] {
			if s.CommitLSN != all[0].CommitLSN || s.FlushLSN != all[0].FlushLSN {
				return false
			}
		}
		return len(all) == 3
	}, patience, 10*time.Millisecond)
	w.keepers[0].down()
	spare(0)
	require.NoError(t, w.insert(100))
	w.keepers[0].up()
	spare(1)
}
