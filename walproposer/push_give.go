package walproposer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// A push worker connects, logs in, and feeds. A connection that keeps up and needs
// no more than its socket (no TLS) it gives to the tap, which goes on as
// --in-process does: a commit then wakes no worker, and the tap itself reads the
// answers that it waits for. There is one owner at any time. The worker offers; the
// tap asks for the connection and says nothing more for it; the worker sends what
// it was told before, reads no more, and gives socket, position and what it has
// read of an answer. The tap gives nothing back: what it cannot do (the queue no
// longer has the bytes) ends the connection, and the worker makes another.

var (
	// errGiven ends both halves of a connection that is the tap's from now on.
	errGiven = errors.New("the connection goes to the tap")
	// errToBeFed ends a connection of the tap.
	errToBeFed = errors.New("it is further behind than the queue reaches, and has to be fed")
)

// give gives the connection to the tap, and returns how it ended there. That it was
// given is no progress: a safekeeper whose disk is full takes connections, too, and
// is to be left alone for longer and longer.
func (c *pushConn) give(ctx context.Context) error {
	l, ok := c.link.(*remoteLink)
	if !ok {
		return errGiven
	}
	l.rest()
	f, pending, err := c.stream.Detach()
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // The tap has its own.
	body := append(binary.LittleEndian.AppendUint64(nil, uint64(c.at)), pending...)
	if len(body) > pairPart {
		return fmt.Errorf("%d bytes of answers wait to be passed on", len(pending))
	}
	if err := l.r.pair.send(pairMessage{kind: pairGive, conn: l.conn, body: body}, f); err != nil {
		return fmt.Errorf("give the connection to the tap: %w", err)
	}
	select {
	case <-l.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err = l.take()
	return err
}

// offer: should the tap not take it, it is gone and so is this worker.
func (l *remoteLink) offer() { _ = l.r.pair.send(pairMessage{kind: pairOffer, conn: l.conn}) }

// offered asks for a connection that keeps up. From then on what there is to send
// waits until it is ours.
func (d *driver) offered(conn uint32) error {
	d.passing.Lock()
	defer d.passing.Unlock()
	d.mu.Lock()
	wanted := d.own != nil && d.conn == conn && d.link != nil && d.start != nil && d.woken == nil
	if wanted {
		d.woken = make(chan struct{}, 1)
	}
	d.mu.Unlock()
	if !wanted {
		return nil
	}
	return d.pair.send(pairMessage{kind: pairAskFor, conn: conn})
}

// given goes on with a connection of the worker's, unless it was ended meanwhile.
func (d *driver) given(ctx context.Context, g *errgroup.Group, m *pairMessage, files []*os.File) error {
	if len(files) != 1 || len(m.body) < 8 {
		seqpacket.Close(files)
		return fmt.Errorf("it gives a connection as %d descriptors and %d bytes", len(files), len(m.body))
	}
	socket, err := net.FileConn(files[0])
	seqpacket.Close(files)
	if err != nil {
		return fmt.Errorf("it gives no connection: %w", err)
	}
	d.mu.Lock()
	l := d.link
	if d.conn != m.conn || d.woken == nil || d.end != nil {
		l = nil
	}
	if l == nil {
		d.mu.Unlock()
		return socket.Close()
	}
	start := *d.start
	start.at = wal.LSN(binary.LittleEndian.Uint64(m.body))
	l.resume, l.woken = &start, d.woken
	ctx, d.end = context.WithCancel(ctx)
	conn, pending := m.conn, append([]byte(nil), m.body[8:]...)
	d.mu.Unlock()
	g.Go(func() error {
		err := d.goOn(ctx, socket, pending, l)
		if hintsAtDamage(err) {
			d.t.suspect()
		}
		return d.drop(conn, err)
	})
	return nil
}

// goOn brings WAL to the safekeeper over a connection that the worker made.
func (d *driver) goOn(ctx context.Context, socket net.Conn, pending []byte, l *localLink) error {
	g, ctx := errgroup.WithContext(ctx)
	stream := protocol.NewCopyStream(ctx, socket, protocol.StreamOptions{MaxFrame: pushwal.MaxMessage, Pending: pending})
	defer stream.Close() //nolint:errcheck // Nobody listens any more.
	stream.OwnThread()
	// It streams, so that heartbeats are answered from the first one on.
	stream.SetReadIdle(silentFor)
	c := &pushConn{
		t: d.own, peer: d.peer, stream: stream, link: l, codec: l.codec, given: true,
		told: &d.t.told[d.peer],
	}
	if onThisMachine(socket) {
		c.hurry = make(chan struct{}, 1)
	}
	defer d.own.spares.leaves(d.peer, c.hurry)
	return c.run(ctx, g)
}

// onThisMachine says whether the other end is on this machine: both ends have one
// address then, or one of its own network each.
func onThisMachine(c net.Conn) bool {
	ours, ok := c.LocalAddr().(*net.TCPAddr)
	theirs, ok2 := c.RemoteAddr().(*net.TCPAddr)
	return ok && ok2 && (ours.IP.Equal(theirs.IP) || theirs.IP.IsLoopback())
}

// closed takes the end of a connection from the worker. One that is ours ends by
// itself then.
func (d *driver) closed(conn uint32) {
	d.mu.Lock()
	end := d.end
	if d.conn != conn {
		end = nil
	}
	d.mu.Unlock()
	if end != nil {
		end()
		return
	}
	d.forget(conn)
}

// status is the number of the last connection, and whether it is ours.
func (d *driver) status() (conn uint32, ours bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn, d.end != nil
}
