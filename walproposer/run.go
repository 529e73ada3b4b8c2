package walproposer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/replication/consensus"
)

// Pauses between sessions: short, because commits wait as soon as PostgreSQL is
// back.
const (
	sessionFirst = 50 * time.Millisecond
	sessionLast  = time.Second
)

// sessions is what --in-process and a tap have in common: one connection to
// PostgreSQL after the other.
type sessions struct {
	o       Options
	logger  *slog.Logger
	metrics *metrics
	state   *state
	crew    crew
	ledger  *ledger
	// serverLog is PostgreSQL's, and only the session at hand uses it.
	serverLog *serverLog
	elected   func() // hears of each election; nil: nobody does
}

// run keeps a session going until ctx is done (nil) or nothing can be gained by
// another one (a *Refusal).
func (w *sessions) run(ctx context.Context) error {
	w.logger.Info("walproposer starts", "instance", w.o.Instance, "safekeepers", len(w.o.Safekeepers), "slot", w.o.Slot)
	watching, stop := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	watcher.Go(func() { w.state.outlook.watch(watching, w.o, w.logger, w.metrics, w.state.acknowledged) })
	defer watcher.Wait()
	defer stop()
	wait, deposed, patient, takeover := sessionFirst, false, false, w.o.Takeover
	for {
		began := time.Now()
		w.metrics.sessions.Inc()
		s := &session{
			o: w.o, logger: w.logger, metrics: w.metrics, state: w.state, crew: w.crew,
			ledger: w.ledger, serverLog: w.serverLog, elected: w.elected,
			takeover: takeover, deposed: deposed, patient: patient,
		}
		err := s.run(ctx)
		if ctx.Err() != nil {
			w.logger.Info("walproposer stops")
			return nil
		}
		if r := judge(err); r != nil {
			w.state.set(stateRefused, r.Error())
			w.logger.Error("refused", "reason", r.Error(), "detail", r.Detail, "hint", r.Hint)
			return r
		}
		if s.term != nil && s.term.d.Election() != nil {
			takeover = false
			w.logger.Warn("session ended", "term", uint64(s.term.d.Term()), "commit", s.term.d.CommitLSN(), "err", err)
		} else {
			w.logger.Info("session ended before an election", "err", err)
		}
		// Who never asked for a vote was not deposed, it only looked too early.
		another := errors.Is(err, consensus.ErrHigherTerm) || errors.Is(err, consensus.ErrRival)
		deposed = s.term != nil && s.term.d.Term() != 0 && another
		patient = s.term != nil && (another || s.term.d.Election() == nil)
		w.state.set(stateWaiting, fmt.Sprint(err))
		if time.Since(began) > sessionLast {
			wait = sessionFirst
		}
		if err := pause.For(ctx, wait); err != nil {
			return nil //nolint:nilerr // The end was asked for.
		}
		wait = min(2*wait, sessionLast)
	}
}
