package safekeeper

import (
	"context"
	"errors"
	"net"
	"time"
)

// drainTimeout bounds the wait for standbys and pageservers to confirm what is
// committed when the process ends.
const drainTimeout = 3 * time.Second

// Run loads the timelines, accepts sessions from ln until ctx is done, and
// returns when everything is closed and the data directory released.
//
// Order of the end:
//  1. proposers' sessions: nothing is accepted any more, what was is flushed and
//     the commit position is final;
//  2. senders and pushes: they bring what is committed and wait for the
//     receivers' confirmation, for at most drainTimeout;
//  3. the background work, and all other sessions;
//  4. the stores, and last the lock, so that a successor never meets open files.
func (s *Server) Run(ctx context.Context, ln net.Listener) (err error) {
	defer func() { err = errors.Join(err, s.dir.Close()) }()
	s.tasks.open(context.WithoutCancel(ctx))
	defer s.tasks.close()
	s.disk.missing()
	if keep, room := uint64(s.o.Config.MaxSlotWALKeepSize), s.disk.capacity(); keep == 0 || keep > room {
		s.logger.Warn("one forgotten replication slot or member can fill the disk: --max-slot-wal-keep-size is larger than what the disk has above --min-free-disk",
			"max_slot_wal_keep_size", keep, "room", room)
	}
	s.tasks.run(s.disk.run)
	if err := s.timelines.load(ctx); err != nil {
		s.tasks.close()
		if ctx.Err() != nil {
			err = nil // stopped while it was loading
		}
		return errors.Join(err, ln.Close(), s.timelines.close(errStopping))
	}
	s.logger.Info("safekeeper is up", "listen", ln.Addr(), "timelines", len(s.timelines.list()),
		"incarnation", s.dir.Identity.IncarnationHex())

	s.serving.Store(true)
	defer s.serving.Store(false)
	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	served := make(chan error, 1)
	go func() { served <- s.protocol.Serve(serving, ln) }()
	select {
	case <-ctx.Done():
		s.drain()
		endServing()
		err = <-served
		if errors.Is(err, context.Canceled) {
			err = nil
		}
	case err = <-served: // the listener failed
		s.drain()
	}
	return errors.Join(err, s.timelines.close(errStopping))
}

// drain is steps 1 and 2 of the end, and the background work's part of step 3:
// pushes drain when the tasks are closed.
func (s *Server) drain() {
	s.logger.Info("safekeeper is stopping")
	live := s.timelines.list()
	for _, t := range live {
		if err := t.accepting.Close(errStopping); err != nil {
			t.logger.Error("close acceptor", "err", err)
		}
	}
	close(s.draining)
	pushed := make(chan struct{})
	go func() {
		defer close(pushed)
		s.tasks.close()
	}()
	defer func() { <-pushed }()
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	for _, t := range live {
		if !t.sessions.waitNone(ctx, kindSender) {
			return
		}
	}
}

// begin starts the background work of a timeline that is served from now on.
func (s *Server) begin(t *timeline) {
	s.tasks.run(
		func(ctx context.Context) { s.retain(ctx, t) },
		func(ctx context.Context) { s.exchangeSlots(ctx, t) },
		func(ctx context.Context) { s.watchPeers(ctx, t) },
	)
	for _, p := range t.pushes.list() {
		s.tasks.run(func(ctx context.Context) { s.push(ctx, t, p) })
	}
}
