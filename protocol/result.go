package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ResultWriter takes the answer of one statement. It belongs to the session's
// goroutine; only the CopyStream that it hands out may be used from others.
// Errors of its methods mean that the client is gone, or that the result is
// malformed, and are to be returned from Execute.
type ResultWriter struct {
	c   *conn
	ctx context.Context

	columns   int        // of the open result; -1 outside of one
	completed int        // CommandCompletes so far
	rows      int        // of the open result
	described *statement // whose columns the client was told before (extended protocol)
	kept      *portal
	stream    *CopyStream
	streaming bool // the stream has not been left yet
}

// Columns announces the columns of a result; a statement may return several.
func (w *ResultWriter) Columns(columns ...Column) error {
	if err := w.leaveStream(); err != nil {
		return err
	}
	w.columns, w.rows = len(columns), 0
	if st := w.described; st != nil {
		if len(columns) != len(st.columns) || w.completed > 0 {
			return fmt.Errorf("result of %d columns was described with %d", len(columns), len(st.columns))
		}
		return nil
	}
	return w.c.say(rowDescription(columns, nil))
}

// Row adds a row to the result whose columns were announced. A nil is NULL;
// other values take the text form of admin.AppendValue.
func (w *ResultWriter) Row(values ...any) error {
	if len(values) != w.columns {
		return fmt.Errorf("row of %d values in a result of %d columns", len(values), w.columns)
	}
	w.rows++
	if w.kept != nil {
		return w.kept.keep(values)
	}
	return w.c.out.append(func(dst []byte) ([]byte, error) { return appendRow(dst, values) })
}

// Complete ends a result with its command tag, e.g. "SHOW". An empty tag counts
// the rows: "SELECT 3".
func (w *ResultWriter) Complete(tag string) error {
	if err := w.leaveStream(); err != nil {
		return err
	}
	if tag == "" {
		tag = fmt.Sprintf("SELECT %d", w.rows)
	}
	w.completed++
	w.columns, w.rows = -1, 0
	if w.kept != nil {
		w.kept.tag = tag
		return nil
	}
	return w.c.say(commandComplete(tag))
}

// Notice sends a NoticeResponse; severity "" counts as NOTICE. It is flushed,
// since it usually announces a wait.
func (w *ResultWriter) Notice(n *Error) error {
	if err := w.c.say(noticeMessage(n)); err != nil {
		return err
	}
	return w.c.out.flush()
}

// Parameter reports a changed parameter, before the client may go on.
func (w *ResultWriter) Parameter(name, value string) {
	p, _ := w.c.session.setParameter(name, value, true)
	w.c.changed = append(slices.DeleteFunc(w.c.changed, func(q parameter) bool { return q.name == p.name }), p)
}

// CopyBoth sends CopyBothResponse and hands out the stream, which ends with the
// context of Execute. Behind it Columns, Row and Complete may follow: they first
// complete the CopyDone handshake, as does the server when Execute returns nil.
// An error returned from Execute ends the stream with an ErrorResponse instead.
// All goroutines that use the stream must have ended by then; Abort makes them.
func (w *ResultWriter) CopyBoth() (*CopyStream, error) {
	c := w.c
	if w.stream != nil {
		return nil, errors.New("a statement streams once")
	}
	if w.described != nil {
		return nil, Errorf(CodeFeatureNotSupported, "streaming commands need the simple query protocol")
	}
	if err := c.say(raw(copyBothResponse)); err != nil {
		return nil, err
	}
	if err := c.out.flush(); err != nil {
		return nil, err
	}
	c.out.arm = nil
	_ = c.readWithin(0) // a closed connection shows at the next read
	_ = c.writeWithin(0)
	w.streaming = true
	w.stream = newCopyStream(w.ctx, c.wire, StreamOptions{Server: true, MaxFrame: c.srv.o.MaxCopyData})
	return w.stream, nil
}

// leaveStream returns to command mode before a further result.
func (w *ResultWriter) leaveStream() error {
	if !w.streaming {
		return nil
	}
	switch w.stream.sendEnded() {
	case sendError, sendShutdown:
		return errors.New("result behind the end of a stream")
	}
	if err := w.stream.Handshake(); err != nil {
		return err
	}
	w.endStream()
	return nil
}

// endStream gives the connection back to the command loop.
func (w *ResultWriter) endStream() {
	w.streaming = false
	w.stream.stop()
	w.c.resume()
	w.c.commandMode()
}

// finish completes what Execute left open and decides what is still to be said
// about err.
func (w *ResultWriter) finish(err error) error {
	if w.streaming {
		err = w.finishStream(err)
	}
	if err != nil || w.completed > 0 && w.columns < 0 {
		return err
	}
	if w.columns >= 0 {
		return w.Complete("")
	}
	return w.Complete("OK")
}

func (w *ResultWriter) finishStream(err error) error {
	defer w.endStream()
	w.stream.stop()
	w.c.resume()
	switch w.stream.sendEnded() {
	case sendShutdown:
		return errEnd
	case sendError:
		if err != nil && asError(err).severity() == SeverityFatal {
			return errEnd
		}
		return errSaid
	}
	if err != nil {
		return err
	}
	// The peer's CopyDone may be long in coming, it syncs its files first; but
	// it cannot put it off by sending something else.
	if err := w.c.readWithin(w.c.srv.o.WriteTimeout); err != nil {
		return err
	}
	w.c.in.arm = w.c.interrupted
	if err = w.stream.Handshake(); isTimeout(err) {
		return Fatalf(CodeProtocolViolation, "stream was not ended by the client within %s", w.c.srv.o.WriteTimeout)
	}
	return err
}

// errSaid says that the client was told about the error already.
var errSaid = errors.New("error was sent")
