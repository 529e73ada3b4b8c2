package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

const (
	inserters = 3
	swappers  = 4
	// registers are in use at a time, each for registerFor: to look for an order of its swaps takes
	// memory by the square of their number, and an hour has a million.
	registers   = 2
	registerFor = 2 * time.Minute
	// registersMade are enough for a week.
	registersMade = 10_000
	// connectWithin bounds an attempt to connect to a server that may be stopped.
	connectWithin = 5 * time.Second
	// retryEvery is the pause of a client that nobody serves.
	retryEvery = 50 * time.Millisecond
)

// workload is the clients.
type workload struct {
	w      *world
	stop   chan struct{} // closed: no new operation
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// startWorkload starts clients that write wherever the primary is.
func (w *world) startWorkload() *workload {
	w.history = newHistory()
	ctx, cancel := context.WithCancel(context.Background())
	l := &workload{w: w, stop: make(chan struct{}), cancel: cancel}
	for i := range inserters {
		next := int64(i+1) << 32
		l.tasks.Go(func() { l.run(ctx, func(conn *pgconn.PgConn) error { next++; return l.insert(ctx, conn, next) }) })
	}
	for i := range swappers {
		next := int64(i+1) << 32
		l.tasks.Go(func() {
			l.run(ctx, func(conn *pgconn.PgConn) error { next++; return l.swap(ctx, conn, i, w.history.register(i), next) })
		})
	}
	w.t.Cleanup(func() { cancel(); l.tasks.Wait() })
	return l
}

// end lets the operations that have begun come to their end.
func (l *workload) end() {
	close(l.stop)
	done := make(chan struct{})
	go func() { defer close(done); l.tasks.Wait() }()
	l.w.eventually("clients come to an end", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// run repeats an operation, on a new connection after each error.
func (l *workload) run(ctx context.Context, operation func(*pgconn.PgConn) error) {
	for {
		select {
		case <-l.stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		db := l.w.primary.Load()
		conn, err := db.connect(ctx)
		if err != nil {
			select {
			case <-time.After(retryEvery):
			case <-ctx.Done():
			}
			continue
		}
		for open := true; open && operation(conn) == nil; {
			select {
			case <-l.stop:
				open = false
			default:
			}
		}
		db.forget(conn)
	}
}

func (l *workload) insert(ctx context.Context, conn *pgconn.PgConn, id int64) error {
	_, err := conn.Exec(ctx, fmt.Sprintf("INSERT INTO acked VALUES (%d)", id)).ReadAll()
	l.w.history.inserted(id, err == nil)
	return err
}

// register is the one that a client uses now.
func (h *history) register(client int) int {
	return (int(time.Since(h.began)/registerFor)*registers + client%registers) % registersMade
}

// swap reads and writes in one transaction, so that what it returns was read
// before a commit that waited: a plain read waits for nobody, on a primary that
// was replaced, or behind a commit whose wait a crash has cut short.
func (l *workload) swap(ctx context.Context, conn *pgconn.PgConn, client, register int, value int64) error {
	s := swap{client: client, register: register, value: value, call: time.Since(l.w.history.began)}
	results, err := conn.Exec(ctx, fmt.Sprintf(
		"BEGIN; SELECT value FROM registers WHERE register = %d FOR UPDATE; UPDATE registers SET value = %d WHERE register = %d; COMMIT",
		register, value, register)).ReadAll()
	s.answer = time.Since(l.w.history.began)
	if err == nil && results[3].CommandTag.String() == "COMMIT" {
		_, err = fmt.Sscan(string(results[1].Rows[0][0]), &s.old)
		s.known = err == nil
	}
	l.w.history.swapped(s)
	return err
}

// awaitCommits returns when some more inserts and swaps have been acknowledged
// than now.
func (w *world) awaitCommits(inserts, swaps int) {
	w.t.Helper()
	insertsNow, swapsNow, more := w.history.counts()
	wantInserts, wantSwaps := insertsNow+inserts, swapsNow+swaps
	ctx, cancel := context.WithTimeout(context.Background(), cluster.Deadline)
	defer cancel()
	for insertsNow < wantInserts || swapsNow < wantSwaps {
		select {
		case <-more:
		case <-ctx.Done():
			require.FailNow(w.t, "commits do not go on", "%d of %d inserts, %d of %d swaps within %s", insertsNow, wantInserts, swapsNow, wantSwaps, cluster.Deadline)
		}
		insertsNow, swapsNow, more = w.history.counts()
	}
}
