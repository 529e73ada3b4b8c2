package walproposer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/walproposer"
)

// longRecord is one WAL record, several times as long as the smallest queue. It
// is committed as a whole only.
const longRecord = "SELECT pg_logical_emit_message(true, 'long', repeat('x', 64 << 20))"

// smallQueue is a world whose walproposer has the smallest queue.
func smallQueue(t *testing.T, inProcess bool) (*world, *proposer) {
	t.Helper()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.QueueSize, o.InProcess = 1, inProcess
	first := w.propose(o)
	first.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(0))
	first.stop() // The queue of the founding session is longer.
	p := w.propose(o)
	p.streams()
	return w, p
}

func (w *world) catchesUp(member int, p *proposer) {
	w.t.Helper()
	head := p.Status().CommitLSN
	require.Eventually(w.t, func() bool { return w.statuses()[member].CommitLSN >= head }, patience, 50*time.Millisecond)
}

func TestRecordLongerThanTheQueue(t *testing.T) {
	t.Parallel()
	w, p := smallQueue(t, inProcess())
	term := p.Status().Term
	w.exec(longRecord)
	require.NoError(t, w.insert(1))
	require.Equal(t, term, p.Status().Term)
	w.keepers[1].down()
	w.exec(longRecord)
	require.NoError(t, w.insert(2))
	w.keepers[1].up()
	w.catchesUp(1, p)
}

// A member that lags is fed as far as others have whole records, and gets the one
// that is longer than the queue, of which it is needed for a quorum, from there.
func TestLaggardIsNeededForARecordLongerThanTheQueue(t *testing.T) {
	t.Parallel()
	w, p := smallQueue(t, inProcess())
	term := p.Status().Term
	w.keepers[1].down()
	for range 3 {
		w.exec("SELECT pg_logical_emit_message(true, 'short', repeat('x', 3 << 20))")
	}
	w.keepers[2].down()
	done, ctx := make(chan error, 1), w.ctx()
	go func() { done <- w.pg.Exec(ctx, longRecord) }()
	require.Eventually(t, func() bool { // the queue is full of it
		st := p.Status()
		return st.HeadLSN > st.CommitLSN+walproposer.MinQueueSize*7/8
	}, patience, 20*time.Millisecond)
	w.keepers[1].up()
	require.NoError(t, <-done)
	require.Equal(t, term, p.Status().Term)
	w.keepers[2].up()
	w.catchesUp(2, p)
}

// What the queue has given up of a record nobody else gives before it is whole.
// A member that is needed and lost its first part gets it in another term, from
// PostgreSQL.
func TestMemberLostInsideARecordLongerThanTheQueue(t *testing.T) {
	invariant.Require(t)
	w, p := smallQueue(t, true)
	w.keepers[2].down()
	term := p.Status().Term
	lost, done := make(chan struct{}), make(chan error, 1)
	invariant.OnPoint(t, "walproposer/tap/queued", func(n int) {
		if n == 200 { // a third of the record
			w.keepers[0].down()
			close(lost)
		}
	})
	ctx := w.ctx()
	go func() { done <- w.pg.Exec(ctx, longRecord) }()
	<-lost
	w.stillWaits(done)
	w.keepers[0].up()
	require.NoError(t, <-done)
	require.NoError(t, w.insert(1))
	require.Greater(t, p.Status().Term, term)
	w.keepers[2].up()
	w.catchesUp(2, p)
}

// One that is not needed waits for the rest, however long PostgreSQL takes to
// send it.
func TestSpareMemberLostInsideARecordLongerThanTheQueue(t *testing.T) {
	invariant.Require(t)
	w, p := smallQueue(t, true)
	require.Eventually(t, func() bool { return p.Status().Live == 3 }, patience, 10*time.Millisecond)
	term := p.Status().Term
	stalls, goes, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	invariant.OnPoint(t, "walproposer/tap/queued", func(n int) {
		if n == 200 { // a third of the record
			close(stalls)
			<-goes
		}
	})
	ctx := w.ctx()
	go func() { done <- w.pg.Exec(ctx, longRecord) }()
	<-stalls
	w.keepers[2].down()
	w.keepers[2].up()
	select {
	case err := <-p.done:
		p.done <- err
	case <-time.After(8 * time.Second): // longer than donorPatience
	}
	close(goes)
	require.NoError(t, <-done)
	require.Equal(t, term, p.Status().Term)
	w.catchesUp(2, p)
}
