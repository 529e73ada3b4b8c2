package walproposer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/walhaven/walhaven/internal/daemon"
)

// Walproposer is the program: with Options.InProcess tap and push workers are
// goroutines, else it is their supervisor.
type Walproposer struct {
	runner
	ledger string // path
}

// runner is one of the two.
type runner interface {
	run(ctx context.Context) error
	status() Status
}

// New checks the options. It starts nothing.
func New(o Options, d Deps) (*Walproposer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := newPeers(o.Safekeepers, "", "", o.Tenant, o.Timeline); err != nil {
		return nil, err
	}
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if o.InProcess {
		return &Walproposer{newSessions(o, d, goroutines{}), o.Ledger}, nil
	}
	return &Walproposer{newSupervisor(o, d), o.Ledger}, nil
}

func newSessions(o Options, d Deps, c crew) *sessions {
	return &sessions{
		o: o, logger: d.Logger, metrics: newMetrics(d.Registerer), state: newState(d.Health), crew: c,
		ledger: newLedger(o.Ledger), serverLog: new(serverLog),
	}
}

func (w *sessions) status() Status { return w.state.status() }

// Run works until ctx is done (nil) or nothing can be gained by going on (a
// *Refusal).
func (w *Walproposer) Run(ctx context.Context) error { return w.run(ctx) }

// Status is what GET /v1/status answers.
func (w *Walproposer) Status() Status { return w.status() }

// Handler serves /v1/.
func (w *Walproposer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(w.Status())
	})
	mux.HandleFunc("GET /v1/rpo", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		intervals, err := w.Intervals()
		if err != nil {
			rw.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(rw).Encode(map[string]string{"error": err.Error()})
			return
		}
		_ = json.NewEncoder(rw).Encode(intervals)
	})
	return mux
}

// errNoLedger says that --ledger was not given.
var errNoLedger = errors.New("no ledger is kept; start the walproposer with --ledger")

// Intervals are those of the ledger, oldest first.
func (w *Walproposer) Intervals() ([]Interval, error) {
	if w.ledger == "" {
		return nil, errNoLedger
	}
	intervals, err := readLedger(w.ledger)
	if intervals == nil {
		intervals = []Interval{}
	}
	return intervals, err
}

// names of the readiness checks.
const (
	checkQuorum    = "quorum"
	checkMembers   = "members"
	checkPostgres  = "postgres"
	checkProcesses = "processes"
)

var tapChecks = []string{checkQuorum, checkMembers, checkPostgres}

// healthOf returns what the checks in h say.
func healthOf(h *daemon.Health) []daemon.CheckStatus {
	_, checks := h.Status()
	return checks
}
