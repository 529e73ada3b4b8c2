package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// slowly is how often a slow writer appends a record.
const slowly = time.Second

// smallWAL is WAL in records of 200 bytes, with their ends.
func smallWAL(n int) (b *walrecordtest.Builder, first wal.LSN, ends []wal.LSN) {
	b = walrecordtest.New(walrecordtest.Options{Start: 3 * wal.LSN(wal.DefaultSegmentSize), SegmentSize: wal.DefaultSegmentSize, Major: major})
	for range n {
		at, end := b.Message(200)
		if first == 0 {
			first = at
		}
		ends = append(ends, end)
	}
	return b, first, ends
}

// manyTimelines measures what idle and slow timelines cost.
func (p plan) manyTimelines(ctx context.Context) error {
	fmt.Printf("\n### Many timelines on one safekeeper, a record of 200 bytes a second each, %v\n\n", p.seconds)
	fmt.Println("| timelines | CPU-seconds a second | peak memory MiB | p50 of a busy timeline, ms | to that of one |\n|---|---|---|---|---|")
	alone := 0.0
	for _, n := range p.timelines {
		used, mib, p50, err := p.slowWriters(ctx, n)
		if err != nil {
			return fmt.Errorf("%d: %w", n, err)
		}
		if alone == 0 {
			alone = p50
		}
		bench.Say(fmt.Sprintf("%d timelines: %.3f CPU-seconds a second, %.0f MiB, p50 %.3f ms", n, used, mib, p50))
		fmt.Printf("| %d | %.3f | %.0f | %.3f | %.2f |\n", n, used, mib, p50, p50/alone)
	}
	return nil
}

// slowWriters runs n writers, measures, and has a busy one run beside them.
func (p plan) slowWriters(ctx context.Context, n int) (used, mib, p50 float64, err error) {
	k, err := p.startKeeper(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer k.stop()
	b, first, ends := smallWAL(50_000)
	var writers []*proposer
	defer func() {
		for _, w := range writers {
			w.close()
		}
	}()
	for i := range n + 1 {
		w, err := k.foundAndPropose(ctx, i+1, b.Bytes(), b.Start(), first)
		if err != nil {
			return 0, 0, 0, err
		}
		writers = append(writers, w)
		// The first record has its segment made, which is not what is measured.
		if err := errors.Join(w.append(ends[0]), w.await(ends[0])); err != nil {
			return 0, 0, 0, err
		}
	}
	ends = ends[1:]
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for i, w := range writers[1:] {
		group.Go(func() { w.slowly(ctx, time.Duration(i)*slowly/time.Duration(n), ends) })
	}
	if err := pause.For(ctx, p.seconds/4); err != nil {
		return 0, 0, 0, err
	}
	before, err := cpu(k.pid())
	err = errors.Join(err, pause.For(ctx, p.seconds))
	after, cpuErr := cpu(k.pid())
	peak, memErr := procstat.PeakMemory(k.pid())
	if err = errors.Join(err, cpuErr, memErr); err != nil {
		return 0, 0, 0, err
	}
	p50, err = writers[0].busily(p.seconds, ends)
	return (after - before) / p.seconds.Seconds(), float64(peak) / (1 << 20), p50, err
}

// slowly appends a record now and then, beginning after a while.
func (p *proposer) slowly(ctx context.Context, after time.Duration, ends []wal.LSN) {
	if pause.For(ctx, after) != nil {
		return
	}
	for _, end := range ends {
		if p.append(end) != nil || pause.For(ctx, slowly) != nil {
			return
		}
	}
}

// busily appends record after record and returns the median until each was
// durable, in milliseconds.
func (p *proposer) busily(d time.Duration, ends []wal.LSN) (float64, error) {
	var took []time.Duration
	until := time.Now().Add(d)
	for _, end := range ends {
		began := time.Now()
		if began.After(until) {
			break
		}
		if err := errors.Join(p.append(end), p.await(end)); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2].Seconds() * 1000, nil
}
