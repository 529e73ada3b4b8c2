package safekeeper

import (
	"context"
	"errors"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
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
//  3. all other sessions, and the background work;
//  4. the stores, and last the lock, so that a successor never meets open files.
func (s *Server) Run(ctx context.Context, ln net.Listener) (err error) {
	defer func() { err = errors.Join(err, s.dir.Close()) }()
	background, endBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer endBackground()
	s.startTasks(background)
	if err := s.timelines.load(ctx); err != nil {
		return errors.Join(err, ln.Close(), s.stopTasks(endBackground), s.timelines.close(errStopping))
	}
	s.logger.Info("safekeeper is up", "listen", ln.Addr(), "timelines", len(s.timelines.list()),
		"incarnation", s.dir.Identity.IncarnationHex())

	serving, endServing := context.WithCancel(context.WithoutCancel(ctx))
	defer endServing()
	g, gctx := errgroup.WithContext(serving)
	g.Go(func() error { return s.protocol.Serve(gctx, ln) })
	select {
	case <-ctx.Done():
	case <-gctx.Done(): // the listener failed
	}
	s.drain()
	endServing()
	err = ignoreCancelled(g.Wait())
	return errors.Join(err, s.stopTasks(endBackground), s.timelines.close(errStopping))
}

// drain is steps 1 and 2 of the end.
func (s *Server) drain() {
	s.logger.Info("safekeeper is stopping")
	live := s.timelines.list()
	for _, t := range live {
		if err := t.accepting.Close(errStopping); err != nil {
			t.logger.Error("close acceptor", "err", err)
		}
	}
	close(s.draining)
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	for _, t := range live {
		if !t.sessions.waitNone(ctx, kindSender) {
			return
		}
	}
}

// startTasks allows background work, which runs under ctx.
func (s *Server) startTasks(ctx context.Context) {
	s.tasks.Lock()
	defer s.tasks.Unlock()
	s.tasks.ctx = ctx
	s.goTask(s.disk.run)
}

// stopTasks ends the background work and waits for it.
func (s *Server) stopTasks(end context.CancelFunc) error {
	end()
	s.tasks.wg.Wait()
	return nil
}

// goTask starts background work; the caller holds the lock.
func (s *Server) goTask(run func(ctx context.Context)) {
	ctx := s.tasks.ctx
	s.tasks.wg.Go(func() { run(ctx) })
}

// begin starts the background work of a timeline that is served from now on.
func (s *Server) begin(t *timeline) {
	s.tasks.Lock()
	defer s.tasks.Unlock()
	if s.tasks.ctx == nil || s.tasks.ctx.Err() != nil {
		return
	}
	s.goTask(func(ctx context.Context) { s.retain(ctx, t) })
	s.goTask(func(ctx context.Context) { s.watchPeers(ctx, t) })
	for _, p := range t.pushes.list() {
		s.goTask(func(ctx context.Context) { s.push(ctx, t, p) })
	}
}

func ignoreCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
