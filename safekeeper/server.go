package safekeeper

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/sender"
	"github.com/walhaven/walhaven/wal/walstore"
)

const program = "safekeeper"

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

	// NoSync skips every fsync of WAL: the negative control of durability tests.
	NoSync bool
	// FS holds the timelines' WAL and control files; nil is the operating
	// system's.
	FS vfs.FS
	// PushDrain is how long the orderly end waits for each pageserver to have on
	// disk what is committed; 0 takes the default of sender.PushOptions.
	PushDrain time.Duration
}

// Server is one safekeeper: a locked data directory, its timelines and what
// they need. New makes it, Run runs it.
type Server struct {
	o         Options
	dir       *datadir.Dir
	timelines *registry
	protocol  *protocol.Server
	table     *admin.Table
	metrics   *metrics
	senders   *sender.Metrics
	pushes    *sender.PushMetrics
	disk      *diskProbe
	started   time.Time
	logger    *slog.Logger

	givingWay sync.Mutex // held by the timeline that makes room on a disk that runs full

	serving atomic.Bool // between loading the timelines and the end

	// draining is closed when the orderly end begins.
	draining chan struct{}

	// tasks is the background work of the timelines.
	tasks taskGroup
}

// New locks the data directory and founds or checks its identity. Run releases
// it; a Server that is not run must be closed with Close.
func New(o Options) (*Server, error) {
	if err := o.Config.check(); err != nil {
		return nil, err
	}
	dir, err := datadir.Open(o.Config.DataDir, program, o.Config.ID)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	s := &Server{
		o: o, dir: dir, started: time.Now(), draining: make(chan struct{}),
		logger:  o.Logger.With("node", dir.Identity.ID),
		metrics: newMetrics(o.Registerer),
		senders: sender.NewMetrics(o.Registerer, program),
		pushes:  sender.NewPushMetrics(o.Registerer, program),
		disk:    newDiskProbe(dir.Path, uint64(o.Config.MinFreeDisk)),
	}
	s.timelines = newRegistry(dir.Path, deps{
		identity: dir.Identity, logger: s.logger, noSync: o.NoSync, fs: o.FS, pageservers: o.Config.Pageserver,
		wal:       walstore.NewMetrics(o.Registerer, program),
		accepting: replication.NewAcceptingMetrics(o.Registerer),
	}, s.begin)
	if s.table, err = s.newTable(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	s.protocol = protocol.NewServer(s, protocol.Options{
		Auth: o.Auth, TLS: o.TLS, Logger: s.logger, MaxCopyData: pushwal.MaxMessage,
		MaxConnections: o.Config.MaxConnections, Metrics: protocol.NewMetrics(o.Registerer, program),
	})
	if o.Registerer != nil {
		o.Registerer.MustRegister(newTimelineCollector(s.timelines, s.disk))
	}
	s.addChecks(o.Health)
	return s, nil
}

// Identity is the data directory's.
func (s *Server) Identity() datadir.Identity { return s.dir.Identity }

// Close releases the data directory of a server that was not run.
func (s *Server) Close() error { return s.dir.Close() }

// addChecks adds what /readyz asks: can this node accept and fsync, whatever
// its peers do.
func (s *Server) addChecks(h *daemon.Health) {
	if h == nil {
		return
	}
	h.CheckFunc("disk", s.disk.check)
	h.CheckFunc("timelines", func() (bool, string) {
		if n := len(s.timelines.failures()); n > 0 {
			return false, fmt.Sprintf("%d timelines did not load; SHOW TIMELINES says why", n)
		}
		for _, t := range s.timelines.list() {
			if err := errors.Join(t.store.Fenced(), t.accepting.Status().Err); err != nil {
				return false, fmt.Sprintf("timeline %s: %v", t.id, err)
			}
		}
		return true, ""
	})
	h.CheckFunc("accepting", func() (bool, string) {
		if !s.serving.Load() {
			return false, "timelines are being loaded, or closed"
		}
		return true, ""
	})
}

// errStopping is why sessions end when the process does.
var errStopping = errors.New("the safekeeper is shutting down")
