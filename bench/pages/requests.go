package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/bench"
	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pagestream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// served is how page requests were answered.
type served struct {
	cached, cold quantiles
	pipelined    float64 // a second
	serverCPU    float64 // seconds of the pageserver for each of these
	clientCPU    float64 // seconds of this process
	records      float64 // replayed for each cold page
	layers       float64 // read for each cold page
	bytes        float64 // of the database's layers
}

// quantiles of latencies.
type quantiles struct{ p50, p99 time.Duration }

func quantilesOf(all []time.Duration) quantiles {
	slices.Sort(all)
	return quantiles{all[len(all)/2], all[len(all)*99/100]}
}

// relation is one that pages are asked of.
type relation struct {
	tablespace, database, relation, blocks uint32
}

const (
	cachedPages = 2000
	connections = 2
	pipeline    = 64 // requests on their way on a connection
)

// database is what pages are asked of: a copy of what the pageserver had once it was
// at rest.
type database struct {
	dir              string
	at               wal.LSN
	chains, accounts relation
}

// keep brings the pageserver to rest and copies what it has.
func (w *world) keep(ctx context.Context, name string) (d database, err error) {
	bench.Say("bringing the pageserver to rest: " + name)
	if _, err := w.rest(ctx, 0); err != nil {
		return d, err
	}
	if err := w.settle(ctx); err != nil {
		return d, err
	}
	if d.at, err = w.end(ctx); err != nil {
		return d, err
	}
	if err := w.flushed(ctx, d.at); err != nil { // Else pages would come from memory.
		return d, err
	}
	if d.chains, err = w.relation(ctx, "chains"); err != nil {
		return d, err
	}
	if d.accounts, err = w.relation(ctx, "pgbench_accounts"); err != nil {
		return d, err
	}
	d.dir = filepath.Join(w.Dir, name+"-pages")
	if err := w.stop(ctx); err != nil {
		return d, err
	}
	if err := replace(ctx, w.cluster.Pageservers[0].DataDir, d.dir); err != nil {
		return d, err
	}
	return d, w.start(ctx)
}

// asked is how pages of both databases were answered in a round.
type asked struct{ small, large served }

// askBoth asks for pages of both in turns, the large one's last: how long a request
// takes depends on what the machine is doing as well. The safekeeper stands still
// meanwhile, or the small one would become large.
func (w *world) askBoth(ctx context.Context, small, large database) (all []asked, err error) {
	keeper := w.cluster.PID("safekeeper-1")
	if err := syscall.Kill(keeper, syscall.SIGSTOP); err != nil {
		return nil, fmt.Errorf("stop the safekeeper: %w", err)
	}
	defer func() { err = errors.Join(err, syscall.Kill(keeper, syscall.SIGCONT)) }()
	for range w.rounds {
		var a asked
		if a.small, err = w.requests(ctx, small); err != nil {
			return nil, err
		}
		if a.large, err = w.requests(ctx, large); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// requests has the pageserver serve a database, its cache being empty, and asks for
// pages.
func (w *world) requests(ctx context.Context, d database) (s served, err error) {
	if err := w.stop(ctx); err != nil {
		return s, err
	}
	if err := replace(ctx, d.dir, w.cluster.Pageservers[0].DataDir); err != nil {
		return s, err
	}
	if err := w.start(ctx); err != nil {
		return s, err
	}
	c, err := w.dial(ctx, d.at)
	if err != nil {
		return s, err
	}
	defer c.close()
	before, err := w.metrics(ctx)
	if err != nil {
		return s, err
	}
	if s.cold, err = c.oneAtATime(d.chains, rand.Perm(int(d.chains.blocks))); err != nil { //nolint:gosec // An order of pages.
		return s, err
	}
	after, err := w.metrics(ctx)
	if err != nil {
		return s, err
	}
	grown := func(name string) float64 { return after[prefix+name] - before[prefix+name] }
	s.records = grown("page_records_replayed_total") / float64(d.chains.blocks)
	s.layers = grown("store_get_layers_sum") / grown("store_get_layers_count")
	s.bytes = after[prefix+"timeline_layer_bytes"]
	if err := w.fromCache(ctx, c, d.accounts, d.at, &s); err != nil {
		return s, err
	}
	bench.Say(fmt.Sprintf("page requests of %.0f MB: cold p50 %v, p99 %v, %.1f records each; cached p50 %v, p99 %v; %.0f/s pipelined, %.1f us of CPU there and %.1f here",
		s.bytes/1e6, s.cold.p50, s.cold.p99, s.records, s.cached.p50, s.cached.p99, s.pipelined, s.serverCPU*1e6, s.clientCPU*1e6))
	return s, nil
}

// fromCache asks for pages that were made before.
func (w *world) fromCache(ctx context.Context, c *client, t relation, at wal.LSN, s *served) (err error) {
	pages := rand.Perm(int(t.blocks)) //nolint:gosec // An order of pages.
	pages = pages[:min(len(pages), cachedPages)]
	if _, err := c.oneAtATime(t, pages); err != nil {
		return err
	}
	many := make([]int, w.plan.requests)
	for i := range many {
		many[i] = pages[rand.IntN(len(pages))] //nolint:gosec // As above.
	}
	if s.cached, err = c.oneAtATime(t, many); err != nil {
		return err
	}
	server, err := procstat.CPU(w.cluster.PID(daemon))
	if err != nil {
		return err
	}
	begin, own := time.Now(), ownTime()
	if err := w.pipelined(ctx, t, many, at); err != nil {
		return err
	}
	took, asked := time.Since(begin), float64(connections*len(many))
	s.clientCPU = (ownTime() - own).Seconds() / asked
	after, err := procstat.CPU(w.cluster.PID(daemon))
	s.pipelined, s.serverCPU = asked/took.Seconds(), (after-server).Seconds()/asked
	return err
}

// pipelined asks for all blocks on each of the connections.
func (w *world) pipelined(ctx context.Context, t relation, blocks []int, at wal.LSN) error {
	var g errgroup.Group
	for range connections {
		g.Go(func() error {
			c, err := w.dial(ctx, at)
			if err != nil {
				return err
			}
			defer c.close()
			return c.pipelined(t, blocks)
		})
	}
	return g.Wait()
}

// relation looks a relation up in the primary.
func (w *world) relation(ctx context.Context, name string) (t relation, err error) {
	text, err := w.primary.QueryValue(ctx, fmt.Sprintf(`SELECT concat_ws(' ', d.dattablespace, d.oid, pg_relation_filenode('%s'),
		pg_relation_size('%s') / 8192) FROM pg_database d WHERE datname = current_database()`, name, name))
	if err != nil {
		return t, err
	}
	_, err = fmt.Sscan(text, &t.tablespace, &t.database, &t.relation, &t.blocks)
	return t, err
}

// client asks for pages as a compute does that wrote everything up to its LSN.
type client struct {
	stream *protocol.CopyStream
	since  wal.LSN
	buf    []byte
}

func (w *world) dial(ctx context.Context, since wal.LSN) (*client, error) {
	host, port, _ := strings.Cut(w.cluster.Pageservers[0].PG, ":")
	password, err := os.ReadFile(w.cluster.PasswordFile)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("host=%s port=%s user=%s dbname=pages password=%s", host, port, w.cluster.User,
		conninfo.Quote(strings.TrimSpace(string(password))))
	stream, err := replication.Dial(ctx, text, fmt.Sprintf("pagestream_v3 %s %s", w.cluster.Tenant, w.cluster.Timeline), replication.DialOptions{})
	if err != nil {
		return nil, err
	}
	return &client{stream: stream, since: since}, nil
}

func (c *client) close() { _ = c.stream.Close() } // Answers were read.

func (c *client) send(t relation, block int) error {
	c.buf = pagestream.AppendRequest(c.buf[:0], pagestream.Version3, &pagestream.Request{
		Kind: pagestream.GetPage, ID: uint64(block), LSN: pagestream.Latest, NotModifiedSince: c.since,
		Tablespace: t.tablespace, Database: t.database, Relation: t.relation, Block: uint32(block),
	})
	return c.stream.Send(c.buf)
}

func (c *client) receive(block int) error {
	msg, err := c.stream.Receive()
	if err != nil {
		return err
	}
	var r pagestream.Response
	switch err := pagestream.DecodeResponse(pagestream.Version3, msg, &r); {
	case err != nil:
		return err
	case r.Failure != "":
		return errors.New(r.Failure)
	case r.Request.ID != uint64(block) || len(r.Pages) != pagestream.PageSize:
		return fmt.Errorf("answer to request %d where that to %d belongs", r.Request.ID, block)
	}
	return nil
}

func (c *client) oneAtATime(t relation, blocks []int) (quantiles, error) {
	all := make([]time.Duration, len(blocks))
	for i, block := range blocks {
		begin := time.Now()
		if err := errors.Join(c.send(t, block), c.stream.Flush(), c.receive(block)); err != nil {
			return quantiles{}, fmt.Errorf("block %d: %w", block, err)
		}
		all[i] = time.Since(begin)
	}
	return quantilesOf(all), nil
}

// pipelined keeps requests on their way, half of them being answered while the
// other half is asked.
func (c *client) pipelined(t relation, blocks []int) error {
	const half = pipeline / 2
	for asked, answered := 0, 0; answered < len(blocks); {
		for range half {
			if asked == len(blocks) {
				break
			}
			if err := c.send(t, blocks[asked]); err != nil {
				return err
			}
			asked++
		}
		if err := c.stream.Flush(); err != nil {
			return err
		}
		for answered < asked && (asked == len(blocks) || asked-answered > half) {
			if err := c.receive(blocks[answered]); err != nil {
				return err
			}
			answered++
		}
	}
	return nil
}
