package cluster

import (
	"context"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
)

// Writer inserts unique rows over several connections and remembers those whose
// COMMIT was acknowledged.
type Writer struct {
	c      *Cluster
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	cond   *sync.Cond
	acked  map[int64]bool
	failed []error
}

// StartWriter makes the table and starts n connections that write to it.
func (c *Cluster) StartWriter(n int) *Writer {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c.t.Cleanup(cancel)
	require.NoError(c.t, c.Server.Exec(ctx, "CREATE TABLE IF NOT EXISTS acked (id bigint PRIMARY KEY, pad text)"))
	w := &Writer{c: c, cancel: cancel, acked: map[int64]bool{}}
	w.cond = sync.NewCond(&w.mu)
	for i := range n {
		first := int64(c.writers)<<48 + int64(i)<<32
		w.wg.Go(func() { w.run(ctx, first) })
	}
	c.writers++
	return w
}

// run writes until its connection breaks or the writer is stopped.
func (w *Writer) run(ctx context.Context, id int64) {
	conn, err := w.c.Server.Connect(ctx, "postgres")
	if err != nil {
		w.fail(err)
		return
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for ctx.Err() == nil {
		id++
		sql := fmt.Sprintf("INSERT INTO acked VALUES (%d, repeat('x', 100))", id)
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			if ctx.Err() == nil {
				w.fail(err)
			}
			return
		}
		w.mu.Lock()
		w.acked[id] = true
		w.cond.Broadcast()
		w.mu.Unlock()
	}
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
	w.cond.Broadcast()
}

// Await returns when n more commits have been acknowledged than at its call, or
// every connection has failed.
func (w *Writer) Await(n int) {
	w.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Deadline)
	defer cancel()
	defer context.AfterFunc(ctx, w.cond.Broadcast)()
	w.mu.Lock()
	defer w.mu.Unlock()
	want := len(w.acked) + n
	for len(w.acked) < want && len(w.failed) == 0 && ctx.Err() == nil {
		w.cond.Wait()
	}
	require.Empty(w.c.t, w.failed, "writers failed")
	require.GreaterOrEqual(w.c.t, len(w.acked), want, "acknowledged commits")
}

// Count is the number of commits acknowledged so far.
func (w *Writer) Count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

// Failures returns the errors that connections ended with.
func (w *Writer) Failures() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.failed...)
}

// Stop ends the writers and returns the rows that were acknowledged.
func (w *Writer) Stop() map[int64]bool {
	w.cancel()
	w.wg.Wait()
	return w.acked
}

// Lost returns how many of the acknowledged rows server does not have.
func (w *Writer) Lost(server *compute.Server) int {
	w.c.t.Helper()
	rows, err := server.Query(context.Background(), "SELECT id FROM acked")
	require.NoError(w.c.t, err)
	lost := len(w.acked)
	for _, row := range rows {
		var id int64
		_, err := fmt.Sscan(row[0], &id)
		require.NoError(w.c.t, err)
		if w.acked[id] {
			lost--
		}
	}
	return lost
}
