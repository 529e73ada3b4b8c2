package protocol

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/walhaven/walhaven/protocol/admin"
)

// commands is the loop of a session in command mode.
func (c *conn) commands(ctx context.Context) error {
	if err := c.ready(); err != nil {
		return err
	}
	for {
		tag, body, err := c.in.next()
		if err != nil {
			return err
		}
		if tag == 'X' {
			return errEnd
		}
		if c.skipping && tag != 'S' {
			continue
		}
		if err := c.command(ctx, tag, body); err != nil {
			return err
		}
	}
}

// command handles one message. Errors end the connection; those of statements
// are told to the client here.
func (c *conn) command(ctx context.Context, tag byte, body []byte) error {
	switch tag {
	case 'd', 'c', 'f':
		// The client was still streaming when our ErrorResponse ended that.
		return nil
	case 'H':
		return c.out.flush()
	case 'S':
		c.skipping = false
		if c.status == 'I' {
			c.prepared.endCycle(false)
		}
		return c.ready()
	case 'Q':
		c.prepared.endCycle(true)
		if err := c.tell(c.query(ctx, body)); err != nil {
			return err
		}
		return c.ready()
	case 'F':
		err := Errorf(CodeFeatureNotSupported, "fast-path function calls are not supported")
		if err := c.tell(err); err != nil {
			return err
		}
		return c.ready()
	}
	err := c.extended(ctx, tag, body)
	c.skipping = err != nil
	if err := c.tell(err); err != nil {
		return err
	}
	if c.skipping {
		return c.out.flush()
	}
	return nil
}

// ready ends a command cycle. What it changed is reported last, as PostgreSQL does
// from 14 on.
func (c *conn) ready() error {
	for _, p := range c.changed {
		if err := c.say(parameterStatus(p.name, p.value)); err != nil {
			return err
		}
	}
	c.changed = c.changed[:0]
	if err := c.say(readyForQuery(c.status)); err != nil {
		return err
	}
	return c.out.flush()
}

// tell sends the error of a statement. It returns the error when the connection
// cannot go on after it.
func (c *conn) tell(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errEnd), c.out.err != nil, isGone(err):
		return err
	case c.interrupted() != nil:
		return err
	}
	if c.status == 'T' {
		c.status = 'E'
	}
	if errors.Is(err, errSaid) {
		return nil
	}
	e := asError(err)
	c.srv.o.Metrics.errors.WithLabelValues(e.SQLState()[:2]).Inc()
	if e.severity() == SeverityFatal || isFrameError(err) {
		return err
	}
	c.log.Debug("statement failed", "err", err)
	return c.say(errorMessage(e))
}

func isFrameError(err error) bool {
	var bad *frameError
	return errors.As(err, &bad)
}

// query runs the statements of a Query message.
func (c *conn) query(ctx context.Context, body []byte) error {
	text, err := decodeQuery(body)
	if err != nil {
		return err
	}
	statements, err := c.statements(text)
	if err != nil {
		return err
	}
	if len(statements) == 0 {
		return c.say(emptyQuery())
	}
	for _, stmt := range statements {
		if err := c.execute(ctx, stmt, &ResultWriter{c: c, columns: -1}); err != nil {
			return err
		}
	}
	return nil
}

// statements applies the rule of replication sessions: the first word decides,
// and a replication command is alone.
func (c *conn) statements(text string) ([]string, error) {
	if c.session.Replication != None {
		if admin.IsReplication(text) {
			_, err := admin.ParseReplication(text)
			return []string{trimCommand(text)}, err
		}
		if c.session.Replication == Physical {
			return nil, Errorf(CodeFeatureNotSupported,
				"cannot execute SQL commands in WAL sender for physical replication")
		}
	}
	return admin.Split(text)
}

// trimCommand removes surrounding blanks and the semicolon.
func trimCommand(text string) string {
	return strings.TrimRight(strings.TrimSpace(text), "; \t\n\r\v\f")
}

// execute runs one statement and completes its answer.
func (c *conn) execute(ctx context.Context, stmt string, w *ResultWriter) error {
	if done, err := c.utility(stmt, w); done || err != nil {
		return err
	}
	started := time.Now()
	ctx, done := c.backend.command(ctx)
	w.ctx = ctx
	err := w.finish(c.srv.h.Execute(ctx, c.session, stmt, w))
	cause := context.Cause(ctx)
	done()
	c.srv.o.Metrics.commands.WithLabelValues(commandLabel(stmt)).Observe(time.Since(started).Seconds())
	if err != nil && errors.Is(cause, errQueryCanceled) && !errors.Is(err, errSaid) && !errors.Is(err, errEnd) {
		return Errorf(CodeQueryCanceled, "%w", cause)
	}
	return err
}

// commandLabel keeps clients from inventing label values.
func commandLabel(stmt string) string {
	words := admin.Words(stmt, 1)
	if len(words) == 1 {
		switch word := words[0]; word {
		case "SELECT", "CREATE", "ALTER", "DROP", "HELP":
			return strings.ToLower(word)
		default:
			if admin.IsReplication(word) {
				return strings.ToLower(word)
			}
		}
	}
	return "other"
}
