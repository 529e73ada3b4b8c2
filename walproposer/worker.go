package walproposer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// workerTask is what the tap gives a push worker, with the queue's descriptors.
type workerTask struct {
	Peer      int             `json:"peer"`
	Conninfos []string        `json:"conninfos"` // without passwords
	Tenant    wal.TenantID    `json:"tenant"`
	Timeline  string          `json:"timeline"`
	Slot      shmqueue.SlotID `json:"slot"`
}

// worker is a push worker in a process of its own. It works for one term of one
// tap, and ends with it.
type worker struct {
	pair    *pairConn
	metrics *metrics
	logger  *slog.Logger
}

// pulseEvery is how often a worker says that it lives.
const pulseEvery = time.Second

// errTapGone says that the tap has ended the pair.
var errTapGone = errors.New("the tap is gone, or is done with this worker")

// run reports to the tap, waits for its task, and works on it until the tap ends
// the pair.
func (w *worker) run(ctx context.Context) error {
	defer w.pair.close()
	w.pair.c.OwnThread()
	if err := w.pair.send(pairMessage{kind: pairHello}); err != nil {
		return fmt.Errorf("report to the tap: %w", err)
	}
	m, files, err := w.pair.receive(0)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wait for a task: %w", err)
	}
	if m.kind != pairBegin {
		seqpacket.Close(files)
		return fmt.Errorf("the tap begins with %q", m.kind)
	}
	var task workerTask
	if err := json.Unmarshal(m.body, &task); err != nil {
		seqpacket.Close(files)
		return fmt.Errorf("read task: %w", err)
	}
	if task.Peer < 0 || task.Peer >= len(task.Conninfos) {
		seqpacket.Close(files)
		return fmt.Errorf("task is for safekeeper %d of %d", task.Peer, len(task.Conninfos))
	}
	queue, err := shmqueue.Attach(files, task.Slot)
	if err != nil {
		if hintsAtDamage(err) {
			err = errors.Join(err, w.pair.send(pairMessage{kind: pairSuspect}))
		}
		return err
	}
	defer queue.Close() //nolint:errcheck // The process ends.
	err = w.work(ctx, task, queue)
	if errors.Is(err, errTapGone) {
		return nil
	}
	return err
}

// work pushes until the pair ends.
func (w *worker) work(ctx context.Context, task workerTask, queue registrar) error {
	g, ctx := errgroup.WithContext(ctx)
	director := newRemoteDirector(w.pair)
	p := &pushing{
		director: director, queue: queue, logins: director, metrics: w.metrics, logger: w.logger,
		peers: &peers{conninfos: task.Conninfos, tenant: task.Tenant, timeline: task.Timeline},
	}
	g.Go(func() error { return newPusher(p, task.Peer).run(ctx) })
	g.Go(func() error { return director.listen(ctx) })
	g.Go(func() error { return w.pulse(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		w.pair.close() // ends listening
		return context.Cause(ctx)
	})
	return g.Wait()
}

func (w *worker) pulse(ctx context.Context) error {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := w.pair.send(pairMessage{kind: pairPulse}); err != nil {
				return fmt.Errorf("tell the tap: %w", err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
