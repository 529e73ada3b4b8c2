package walproposer

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// session is one connection to PostgreSQL, and at most one term.
type session struct {
	o       Options
	logger  *slog.Logger
	metrics *metrics
	state   *state
	crew    crew
	ledger  *ledger
	// serverLog is PostgreSQL's, for waits that were cancelled and settings that were changed.
	serverLog *serverLog
	elected   func()
	// takeover campaigns in spite of another writer; deposed says that the last
	// session ended by a higher term, patient that it did, or ended between its look and
	// its election.
	takeover bool
	deposed  bool
	patient  bool

	client    *replication.Client
	server    server
	peers     *peers
	timeline  wal.TimelineID
	confirmed wal.LSN // by the quorum to this data directory; 0 = never
	keep      wal.LSN // nothing is released before the quorum is beyond it
	pid       uint32  // of the walsender
	wrong     string  // the last findings of check
	looked    bool    // check has asked PostgreSQL

	term  *term
	queue queue
	proof *prover
	tap   *tap
	roll  *roll
}

// run is the life of a session. It returns why it ended.
func (s *session) run(ctx context.Context) error {
	s.state.set(stateConnecting, "connecting to PostgreSQL")
	var err error
	if s.confirmed, err = ensureSlot(ctx, s.o.origin(), s.o.Slot); err != nil {
		return err
	}
	if s.client, err = connectReplication(ctx, s.o.origin()); err != nil {
		return err
	}
	defer s.client.Close() //nolint:errcheck // Ended already, or nothing to save.
	s.pid = s.client.PID()
	if err := s.identify(ctx); err != nil {
		return err
	}
	if err := s.mayBeDisposable(ctx); err != nil {
		return err
	}
	if err := s.resolve(ctx); err != nil {
		return err
	}
	v, err := s.mayCampaign(ctx)
	if err != nil {
		return err
	}
	return s.stream(ctx, v)
}

// identify asks the server who it is, again before each step that rests on it.
func (s *session) identify(ctx context.Context) error {
	now, err := describe(ctx, s.client)
	if err != nil {
		return err
	}
	s.server = now
	return nil
}

// resolve finds tenant and timeline ID.
func (s *session) resolve(ctx context.Context) error {
	tenant := s.o.Tenant
	if tenant.IsZero() {
		tenant = s.server.SystemID.TenantID()
	}
	var err error
	s.peers, err = newPeers(s.o.Safekeepers, s.o.SafekeeperUser, s.o.SafekeeperPassword, tenant, s.o.Timeline)
	if err != nil {
		return err
	}
	for {
		if s.timeline, err = s.peers.resolve(ctx); err == nil {
			s.peers.timeline = s.timeline.String()
			return nil
		}
		if r := judge(err); r != nil {
			return r
		}
		s.state.set(stateWaiting, err.Error())
		if err := pause.For(ctx, lookEvery); err != nil {
			return err
		}
		if err := s.identify(ctx); err != nil {
			return err
		}
	}
}

// config is what the proposer knows before it talks to anyone.
func (s *session) config(v consensus.Survey) consensus.ProposerConfig {
	return consensus.ProposerConfig{
		ID:       wal.TTID{Tenant: s.peers.tenant, Timeline: s.timeline},
		SystemID: s.server.SystemID, PGVersion: s.server.PGVersion, SegmentSize: s.server.SegmentSize,
		TLIHistory: s.server.TLIHistory, Instance: s.o.Instance, Peers: len(s.peers.all()), MinTerm: v.MaxTerm,
		Members: v.Config,
	}
}

// stream proves, campaigns and streams until something ends.
func (s *session) stream(ctx context.Context, v view) error {
	lower := s.lowerBound(v)
	start, size := lower, s.o.QueueSize
	if isEmpty(v) {
		// Nobody has anything yet: the first segment is sent from its beginning, and
		// has to stay until a quorum has it and a record behind it.
		start = s.server.SegmentSize.SegmentStart(lower)
		size = max(size, int(s.server.SegmentSize)+MinQueueSize)
		s.keep = lower
	}
	var err error
	if s.queue, err = s.crew.queue(shmqueue.Options{Size: size, Start: start}); err != nil {
		return err
	}
	defer s.endQueue()
	if s.keep == 0 {
		// What the best voter has can be fetched there; its last bytes are still to
		// be compared.
		s.queue.Release(v.Proof.Upto &^ (digestSize - 1))
	}
	requests := make(chan *consensus.ProofRequest, 1)
	s.roll = newRoll(s)
	reporter := newReporter(s.metrics)
	reporter.follow = s.o.ApplySource == ApplyPageserver
	s.term = newTerm(replication.NewProposing(replication.ProposingOptions{
		Config:  s.config(v.Survey),
		Prove:   func(r *consensus.ProofRequest) { requests <- r },
		Commit:  s.committed(reporter),
		Held:    s.held,
		Members: func(c pushwal.Configuration) { s.roll.hear(c) },
		Metrics: s.metrics.proposing,
		// A commit with remote_apply waits for a pageserver that waits for this.
		AnnounceAtOnce: reporter.follow,
	}), s.peers, s.metrics, s.logger)
	s.term.unfillable, s.term.ingested = s.unfillable, reporter.ingested
	if reporter.follow {
		s.term.spares.end() // A pageserver that commits wait for may follow any safekeeper.
	}
	s.proof = newProver(lower)
	s.tap = newTap(s, start, reporter)
	s.state.enter(s.term, s.queue)
	defer s.state.leave()

	// Work goes on for a moment after ctx ends, so that WAL in flight is brought
	// to the quorum.
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	g, gctx := errgroup.WithContext(work)
	if err := s.tap.open(gctx, s.client); err != nil {
		return err
	}
	defer s.tap.close()
	if s.earlyPush(gctx); s.tap.early != nil {
		g.Go(func() error { return s.tap.early.run(gctx) })
	}
	g.Go(func() error {
		err := s.tap.receive(gctx)
		s.farewell(gctx)
		return err
	})
	g.Go(func() error { return s.tap.keepReporting(gctx) })
	g.Go(func() error { return s.prove(gctx, v, requests) })
	g.Go(func() error { return s.term.d.Run(gctx) })
	g.Go(func() error { return s.term.spares.watch(gctx) })
	g.Go(func() error { return s.watchServer(gctx) })
	g.Go(func() error { return s.watchQueue(gctx) })
	g.Go(func() error { return s.copyLedger(gctx) })
	g.Go(func() error { return s.drain(gctx, ctx) })
	return g.Wait()
}

// endQueue ends the queue once everybody here is done with it.
func (s *session) endQueue() {
	s.queue.Close()
	if err := s.queue.Free(); err != nil {
		s.logger.Warn("cannot give the queue's memory back", "err", err)
	}
}

// isEmpty says that nobody whose WAL counts has a record yet. Positions tell it
// and not terms: an election that came to nothing leaves a term without WAL
// behind. The best voter's is the one that tells, for what others have beyond it
// will be cut.
func isEmpty(v view) bool { return v.Proof.Upto <= v.all[v.Proof.Donor].Origin() }

// committed passes on that the quorum has more.
func (s *session) committed(r *reporter) func(wal.LSN) {
	return func(l wal.LSN) {
		began := time.Now()
		r.report(l)
		s.metrics.report.Observe(time.Since(began).Seconds())
		s.state.streaming()
	}
}

// held gives WAL that a quorum has on disk up. It may be a part of a record,
// which may be longer than the queue and is committed as a whole only.
func (s *session) held(l wal.LSN) {
	if l > s.keep {
		s.queue.Release(l)
	}
	if e := s.tap.early; e != nil {
		e.quorumHas(l)
	}
}

// unfillable passes on that a safekeeper cannot be filled, or has caught up.
func (s *session) unfillable(peer int, reason string) {
	if s.state.unfillable(peer, reason) && reason != "" {
		s.logger.Error("a member cannot be filled and does not count", "reason", reason)
	}
}

// drainFor is how long WAL in flight may take to reach the quorum when the
// program is told to stop.
const drainFor = 2 * time.Second

// drain ends the session some time after ctx: as soon as the quorum has what was
// read from PostgreSQL.
func (s *session) drain(work, ctx context.Context) error {
	select {
	case <-work.Done():
		return context.Cause(work)
	case <-ctx.Done():
	}
	s.tap.stop()
	deadline := time.NewTimer(drainFor)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for s.term.d.Election() != nil && s.term.d.CommitLSN() < s.queue.Head() {
		select {
		case <-look.C:
		case <-deadline.C:
			return context.Cause(ctx)
		case <-work.Done():
			return context.Cause(work)
		}
	}
	s.farewell(work)
	return context.Cause(ctx)
}

// prove answers the first proof before any vote is asked for, then starts the
// workers, and answers further ones on their votes.
func (s *session) prove(ctx context.Context, v view, requests <-chan *consensus.ProofRequest) error {
	s.state.set(stateCampaigning, "comparing WAL with the safekeepers")
	if err := s.verify(ctx, &v.Proof); err != nil {
		return err
	}
	s.state.set(stateCampaigning, "asking for votes")
	workers, wctx := errgroup.WithContext(ctx)
	defer workers.Wait() //nolint:errcheck // Its error is returned below, or follows from ctx.
	s.roll.spawn = workers.Go
	for peer := range s.peers.all() {
		s.roll.start(wctx, peer)
	}
	workers.Go(func() error { return s.roll.run(wctx) })
	for {
		select {
		case r := <-requests:
			err := s.verify(ctx, r)
			s.term.d.Proved(r.Term, err)
			if err != nil {
				return err
			}
		case <-s.term.d.Elected():
			s.proof.stop()
			e := s.term.d.Election()
			s.logger.Info("elected", "term", uint64(e.Term), "start", e.Start, "tli", uint32(e.TLIHistory.Last))
			s.roll.count()
			if s.elected != nil {
				s.elected()
			}
			return workers.Wait()
		case <-wctx.Done():
			return workers.Wait()
		}
	}
}

// errVotesMoved asks for another session: the votes' positions cannot be proved
// from what is still in the queue.
var errVotesMoved = fmt.Errorf("the safekeepers moved while they were looked at")
