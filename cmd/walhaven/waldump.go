package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/operator"
	"github.com/walhaven/walhaven/wal"
)

type waldumpCmd struct {
	Path       string  `arg:"" optional:"" help:"Folder with WAL segments, or one segment; without it the WAL of a running safekeeper is read." type:"path"`
	Safekeeper int     `help:"ID of the safekeeper to read from (default: the first that answers)."`
	Timeline   uint32  `help:"PostgreSQL timeline of the folder (default: the newest)." short:"t"`
	Start      wal.LSN `help:"Begin with the first record at or after this LSN." short:"s"`
	End        wal.LSN `help:"Stop before the first record that ends behind this LSN." short:"e"`
	Limit      uint64  `help:"Number of records." short:"n"`
	Follow     bool    `help:"Wait for more at the end." short:"f"`
	Stats      string  `help:"Statistics instead of records: rmgr, or record for a line a kind." short:"z" enum:",rmgr,record" default:""`
	Output     string  `short:"o" help:"text or jsonl." enum:"text,jsonl" default:"text"`
}

// followInterval is how often a followed folder is looked at again; a stream
// needs no polling.
const followInterval = 200 * time.Millisecond

// Run prints the records.
func (w *waldumpCmd) Run(ctx context.Context, c *cli) error {
	o := operator.WaldumpOptions{
		TLI: wal.TLI(w.Timeline), Start: w.Start, End: w.End, Limit: w.Limit,
		Output: w.Output, Stats: operator.WaldumpStats(w.Stats),
	}
	if w.Path != "" {
		o.Folder = w.Path
		if w.Follow {
			o.Follow = func(ctx context.Context, _ wal.LSN) error { return pause.For(ctx, followInterval) }
		}
	} else {
		stream, err := w.stream(ctx, c)
		if err != nil {
			return err
		}
		defer stream.Close() //nolint:errcheck // Only read.
		o.Source = stream.Source()
		if w.Follow {
			o.Follow = stream.Follow
		}
	}
	result, err := operator.Waldump(ctx, os.Stdout, o)
	if err != nil && ctx.Err() == nil {
		return err
	}
	if result.Stopped != nil && w.Path != "" {
		fmt.Fprintln(os.Stderr, "walhaven: WAL ends: "+result.Stopped.Error())
	}
	return nil
}

// stream opens the WAL of the chosen safekeeper, or of the first that answers.
func (w *waldumpCmd) stream(ctx context.Context, c *cli) (*operator.StreamedWAL, error) {
	cluster, err := c.cluster("")
	if err != nil {
		return nil, err
	}
	err = fmt.Errorf("the cluster has no safekeeper %d", w.Safekeeper)
	for _, n := range cluster.Safekeepers {
		if w.Safekeeper != 0 && n.ID != w.Safekeeper {
			continue
		}
		var stream *operator.StreamedWAL
		if stream, err = cluster.StreamWAL(ctx, n, w.Start); err == nil {
			return stream, nil
		}
	}
	return nil, err
}
