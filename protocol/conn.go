package protocol

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"time"
)

// conn is one connection and its session. Its goroutine runs everything but
// the halves of a CopyStream.
type conn struct {
	*wire
	srv     *Server
	log     *slog.Logger
	tls     *tls.Conn
	binding []byte // tls-server-end-point of the certificate shown

	session *Session
	backend *backend

	loggedIn func() // gives its place among those that wait to others

	changed  []parameter // since the last ReadyForQuery
	status   byte        // transaction status of ReadyForQuery: I, T or E
	skipping bool        // after an error in the extended protocol, until Sync
	prepared statements
}

// errEnd ends a connection without a further word: everything was said.
var errEnd = errors.New("connection ended")

// run takes the connection through its life. It returns what is worth a log
// line; the client has been told already.
func (c *conn) run(ctx context.Context) error {
	c.absolute(time.Now().Add(c.srv.o.AuthTimeout))
	start, err := c.preamble()
	if err != nil || start == nil {
		return c.refuse(err)
	}
	if n := c.srv.sessions.Add(1); n > int64(c.srv.o.MaxConnections) {
		c.srv.sessions.Add(-1)
		c.srv.o.Metrics.refused.WithLabelValues("limit").Inc()
		return c.refuse(Fatalf(CodeTooManyConnections, "sorry, too many clients already"))
	}
	defer c.srv.sessions.Add(-1)
	if err := c.open(ctx, start); err != nil {
		return c.refuse(err)
	}
	c.loggedIn()
	c.backend = c.srv.backends.add()
	defer c.srv.backends.remove(c.backend)
	c.session.PID = c.backend.pid
	defer c.srv.h.End(c.session)
	if err := c.begin(ctx); err != nil {
		return c.refuse(err)
	}
	return c.refuse(c.commands(ctx))
}

// open negotiates, makes the session and authenticates it.
func (c *conn) open(ctx context.Context, start *startup) (err error) {
	if c.session, err = start.session(); err != nil {
		return err
	}
	c.session.Remote, c.session.Local, c.session.TLS = c.conn.RemoteAddr(), c.conn.LocalAddr(), c.tls != nil
	if v := start.negotiation(); v != nil {
		if err := c.say(raw(v)); err != nil {
			return err
		}
	}
	identity, err := c.srv.o.Auth.Authenticate(ctx, c.session, exchange{c})
	if err != nil {
		if !isGone(err) {
			c.srv.o.Metrics.refused.WithLabelValues("authentication").Inc()
		}
		return err
	}
	c.session.Identity = identity
	return c.say(authOk())
}

// begin resolves the session and greets the client.
func (c *conn) begin(ctx context.Context) error {
	c.in.limits = c.srv.limits.command
	settings, err := c.srv.h.Begin(ctx, c.session)
	if err != nil {
		return err
	}
	for _, p := range c.initialParameters(settings) {
		c.session.setParameter(p.name, p.value, true)
		if err := c.say(parameterStatus(p.name, p.value)); err != nil {
			return err
		}
	}
	c.status = 'I'
	if err := c.say(backendKey(c.backend.pid, c.backend.secret)); err != nil {
		return err
	}
	c.log = c.log.With("pid", c.backend.pid, "user", c.session.Identity.User, "application", c.session.ApplicationName)
	c.log.Debug("session begins", "method", c.session.Identity.Method, "tls", c.session.TLS,
		"replication", c.session.Replication.String())
	c.absolute(time.Time{})
	c.commandMode()
	return nil
}

// commandMode arms the deadlines that hold outside of streams.
func (c *conn) commandMode() {
	c.in.limits = c.srv.limits.command
	c.in.arm = func() error { return c.readWithin(c.srv.o.IdleTimeout) }
	c.out.arm = func() error { return c.writeWithin(c.srv.o.WriteTimeout) }
}

// say queues a message.
func (c *conn) say(m encoder) error { return c.out.append(m.Encode) }

// refuse tells the client why its connection ends, unless it is gone or has
// been told, and returns what to log.
func (c *conn) refuse(err error) error {
	if err == nil || errors.Is(err, errEnd) || isGone(err) {
		_ = c.out.flush()
		return nil
	}
	if cause := c.interrupted(); cause != nil {
		err = Fatalf(CodeAdminShutdown, "%w", cause)
	} else if isTimeout(err) {
		if c.in.arm == nil || c.out.err != nil {
			return err // during authentication, or it does not read
		}
		err = Fatalf(CodeIdleSessionTimeout, "terminating connection due to idle-session timeout")
	}
	e := *asError(err)
	e.Severity = SeverityFatal
	if c.say(errorMessage(&e)) == nil {
		_ = c.out.flush()
	}
	if errors.Is(err, errShutdown) {
		return nil
	}
	return err
}

// isGone says that the client left, which is an ordinary end in any state. An
// error that a handler has made an answer of is one, whatever file has ended in it.
func isGone(err error) bool {
	var answer *Error
	if errors.As(err, &answer) {
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, ErrPeerClosed) || errors.Is(err, net.ErrClosed) || isReset(err)
}

// closeTimeout bounds what TLS may take for its goodbye.
const closeTimeout = time.Second

func (c *conn) close() {
	if c.tls != nil {
		t := time.AfterFunc(closeTimeout, func() { _ = c.conn.Close() })
		_ = c.tls.Close()
		t.Stop()
	}
	_ = c.conn.Close()
}
