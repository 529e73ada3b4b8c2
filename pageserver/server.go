package pageserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/replication/sender"
	"github.com/walhaven/walhaven/wal/walstore"
)

const program = "pageserver"

// Options of a Server.
type Options struct {
	Config Config
	Auth   protocol.Authenticator // required
	Tokens *auth.Tokens           // what CREATE TOKEN makes and Auth takes; nil: none
	TLS    *tls.Config            // of the PostgreSQL listener; nil without
	Logger *slog.Logger           // required

	// Settings are the configuration as SHOW ALL lists it.
	Settings []admin.Setting

	Registerer prometheus.Registerer // nil: metrics are counted, not exported
	Health     *daemon.Health        // nil: not reported

	// Processors is how many there are to share the work among; 0 is what the
	// runtime uses.
	Processors int
}

// Server is one pageserver: a locked data directory and its timelines. New
// makes it, Run runs it.
type Server struct {
	o         Options
	dir       *datadir.Dir
	identity  datadir.Identity
	timelines *timelines
	storage   *pageStorage
	requests  *requestMetrics
	protocol  *protocol.Server
	table     *admin.Table
	senders   *sender.Metrics
	started   time.Time
	logger    *slog.Logger
	serving   atomic.Bool
	draining  chan struct{} // closed when the orderly end begins
}

// New locks the data directory and founds or checks its identity. Run releases
// it; a Server that is not run must be closed with Close.
func New(o Options) (*Server, error) {
	if err := o.Config.check(); err != nil {
		return nil, err
	}
	if o.Processors == 0 {
		o.Processors = runtime.GOMAXPROCS(0)
	}
	dir, err := datadir.Open(o.Config.DataDir, program, o.Config.ID)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	logger := o.Logger.With("node", dir.Identity.ID)
	s := &Server{
		o: o, dir: dir, identity: dir.Identity, started: time.Now(), logger: logger, draining: make(chan struct{}),
		senders: sender.NewMetrics(o.Registerer, program), requests: newRequestMetrics(o.Registerer),
	}
	s.storage = newPageStorage(dir.Path, &o, logger)
	s.timelines = newTimelines(dir.Path, walstore.Options{Logger: logger, Metrics: walstore.NewMetrics(o.Registerer, program), AllocateWithin: catchUp},
		s.storage, newMetrics(o.Registerer), logger)
	if s.table, err = s.newTable(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	s.protocol = protocol.NewServer(s, protocol.Options{
		Auth: o.Auth, TLS: o.TLS, Logger: logger, Metrics: protocol.NewMetrics(o.Registerer, program),
	})
	if o.Registerer != nil {
		o.Registerer.MustRegister(newTimelineCollector(s.timelines))
	}
	s.addChecks(o.Health)
	return s, nil
}

// Identity is the data directory's.
func (s *Server) Identity() datadir.Identity { return s.identity }

// Close releases the data directory of a server that was not run.
func (s *Server) Close() error { return s.dir.Close() }

// drainTimeout bounds the wait for receivers of WAL at the end.
const drainTimeout = 2 * time.Second

// Run loads the timelines, accepts sessions from ln until ctx is done, and
// returns when everything is closed and the data directory released. Pushers'
// sessions make durable what they took before they end; the stores are closed
// after the last session, the lock is released last.
func (s *Server) Run(ctx context.Context, ln net.Listener) (err error) {
	defer func() { err = errors.Join(err, s.dir.Close()) }()
	// Pages are made until the last session has ended, and not longer.
	making, endMaking := context.WithCancel(context.WithoutCancel(ctx))
	defer endMaking()
	if err := s.timelines.load(ctx, making); err != nil {
		if ctx.Err() != nil {
			err = nil // stopped while it was loading
		}
		endMaking()
		return errors.Join(err, ln.Close(), s.timelines.close())
	}
	s.timelines.running.Go(func() { s.storage.run(making) })
	s.timelines.running.Go(func() { s.timelines.collect(making, s.o.Config.RestoreWindow) })
	s.logger.Info("pageserver is up", "listen", ln.Addr(), "timelines", len(s.timelines.list()))
	s.serving.Store(true)
	pulling, endPulls := context.WithCancel(ctx)
	defer endPulls()
	stop := context.AfterFunc(ctx, func() {
		s.serving.Store(false)
		close(s.draining)
	})
	defer stop()
	var pulls sync.WaitGroup
	for _, addr := range s.o.Config.Safekeeper {
		pulls.Go(func() { s.pull(pulling, addr) })
	}
	err = s.protocol.Serve(ctx, ln)
	endPulls()
	pulls.Wait()
	endMaking()
	if ctx.Err() != nil {
		err = nil
	}
	return errors.Join(err, s.timelines.close())
}

// addChecks adds what /readyz asks: does this node take and serve WAL.
func (s *Server) addChecks(h *daemon.Health) {
	if h == nil {
		return
	}
	h.CheckFunc("serving", func() (bool, string) {
		if !s.serving.Load() {
			return false, "not running"
		}
		return true, ""
	})
	h.CheckFunc("timelines", func() (bool, string) {
		if n := len(s.timelines.failures()); n > 0 {
			return false, fmt.Sprintf("%d timelines did not load; SHOW TIMELINES says why", n)
		}
		for _, t := range s.timelines.list() {
			if err := errors.Join(t.store.Fenced(), t.haltedErr()); err != nil {
				return false, fmt.Sprintf("timeline %s: %v", t.id, err)
			}
		}
		return true, ""
	})
	// A timeline without a base has no pages to serve, which is no failure.
	h.CheckFunc("pages", func() (bool, string) {
		if err := s.storage.failure(); err != nil {
			return false, err.Error()
		}
		for _, t := range s.timelines.list() {
			if v := t.pages.view(); v.Failed != nil {
				return false, fmt.Sprintf("timeline %s: pages end at %s %s", t.id, v.Applied, v.Reason)
			}
		}
		return true, ""
	})
}
