package protocol

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a Server. Zero values are the defaults given.
type Options struct {
	Auth           Authenticator     // required
	TLS            *tls.Config       // nil: SSLRequest is answered N
	Logger         *slog.Logger      // nil discards
	Metrics        *Metrics          // nil counts nowhere
	Parameters     map[string]string // reported parameters, under Handler.Begin's
	MaxConnections int               // sessions that are authenticated or about to be, 1000
	MaxWaiting     int               // connections that have not logged in, 256; one more ends the oldest
	AuthTimeout    time.Duration     // from accept to the first ReadyForQuery, 60 s
	IdleTimeout    time.Duration     // between commands, 0 is unlimited
	WriteTimeout   time.Duration     // for a client to take an answer or to end a stream, 60 s
	MaxQuery       int               // bytes of a command's text, 1 MiB
	MaxCopyData    int               // bytes of an incoming CopyData payload, 1 MiB + 64 KiB
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, "")
	}
	setDefault(&o.MaxConnections, defaultMaxConnections)
	setDefault(&o.MaxWaiting, defaultMaxWaiting)
	setDefault(&o.AuthTimeout, defaultAuthTimeout)
	setDefault(&o.WriteTimeout, defaultWriteTimeout)
	setDefault(&o.MaxQuery, defaultMaxQuery)
	setDefault(&o.MaxCopyData, defaultMaxCopyData)
	return o
}

func setDefault[T int | time.Duration](v *T, value T) {
	if *v <= 0 {
		*v = value
	}
}

// Server accepts connections for one Handler.
type Server struct {
	h        Handler
	o        Options
	backends *registry
	waiting  waiting
	limits   struct{ auth, command *frameLimits }
	sessions atomic.Int64 // connections past their start-up packet
}

// errShutdown is why connections end when Serve's context does.
var errShutdown = errors.New("terminating connection due to administrator command")

// NewServer makes a server; it starts nothing.
func NewServer(h Handler, o Options) *Server {
	s := &Server{h: h, o: o.withDefaults(), backends: newRegistry()}
	s.waiting.limit = s.o.MaxWaiting
	s.waiting.left = s.o.Metrics.refused.WithLabelValues("waiting").Inc
	s.limits.auth = authLimits()
	s.limits.command = commandLimits(s.o.MaxQuery, s.o.MaxCopyData)
	return s
}

// Serve accepts from ln until ctx is done, then closes ln, ends all sessions
// and returns when they are gone. It may run for several listeners at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if s.o.Auth == nil {
		return errors.New("serve: no authenticator")
	}
	// Also ends the sessions when accepting fails for good.
	ctx, cancel := context.WithCancel(ctx)
	stop := watch(ctx, func() { _ = ln.Close() })
	var sessions sync.WaitGroup
	err := s.accept(ctx, ln, &sessions)
	cancel()
	stop()
	sessions.Wait()
	return err
}

func (s *Server) accept(ctx context.Context, ln net.Listener, sessions *sync.WaitGroup) error {
	// Sessions and those who wait are bounded; places beyond are for those that are
	// just leaving, which takes no time worth speaking of.
	places := make(chan struct{}, s.o.MaxConnections+2*s.o.MaxWaiting)
	for pause := time.Duration(0); ; {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		nc, err := ln.Accept()
		if err != nil {
			<-places
		}
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil:
			// Out of descriptors or memory: connections that end make room.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.o.Logger.Error("cannot accept connections", "err", err, "retry_in", pause)
			wait(ctx, pause)
			continue
		}
		pause = 0
		s.o.Metrics.accepted.Inc()
		leave := s.waiting.enter(nc) // here, where they come one after another: the oldest is the oldest
		sessions.Go(func() {
			defer func() { <-places }()
			defer leave()
			s.handle(ctx, nc, leave)
		})
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// keepAlive finds peers that vanished without a word, which would otherwise
// hold slots and locks.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

func (s *Server) handle(ctx context.Context, nc net.Conn, loggedIn func()) {
	if tcp, ok := nc.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(keepAlive) // without it we notice later
	}
	c := &conn{srv: s, loggedIn: loggedIn, wire: newWire(nc, s.limits.auth), log: s.o.Logger.With("remote", nc.RemoteAddr().String())}
	stop := watch(ctx, func() { c.interrupt(errShutdown, true) })
	defer stop()
	defer c.close()
	s.o.Metrics.connections.Inc()
	defer s.o.Metrics.connections.Dec()
	if err := c.run(ctx); err != nil {
		c.log.Info("connection ended", "err", err)
	}
}
