package walproposer

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/seqpacket"
)

// pairPatience is how long either end may leave messages untaken before the
// other gives it up.
const pairPatience = 5 * time.Second

// pairSilence is how long a worker may say nothing; it says that it lives each
// second.
const pairSilence = 10 * time.Second

// pairConn is one end of the pair between the tap and a push worker. Sending is
// for any goroutine, receiving for one.
type pairConn struct {
	c *seqpacket.Conn

	mu  sync.Mutex
	buf []byte
	// point is the fail point passed before each packet.
	point string

	// Of the receiving goroutine.
	in      assembler
	m       pairMessage
	silence time.Duration // that the deadline was set for
	until   time.Time     // the deadline, zero: there is none, or it has passed
}

func newPairConn(c *seqpacket.Conn, point string) *pairConn { return &pairConn{c: c, point: point} }

// send sends a message, in parts if its body is long.
func (p *pairConn) send(m pairMessage, files ...*os.File) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	body := m.body
	for {
		part := body[:min(len(body), pairPart)]
		body = body[len(part):]
		m.body, m.more = part, len(body) > 0
		p.buf = m.appendTo(p.buf[:0])
		invariant.Point(p.point)
		if err := p.c.Send(pairPatience, p.buf, files...); err != nil {
			return err
		}
		if !m.more {
			return nil
		}
		files = nil
	}
}

// trySend sends a short message if there is room for it, without waiting for
// anything, and says whether it did.
func (p *pairConn) trySend(m pairMessage) bool {
	var short [pairHeader + statePayload]byte
	invariant.Point(p.point)
	return p.c.TrySend(m.appendTo(short[:0]))
}

// receive returns the next message; a body is whole. It is valid until the next
// call. Files that came with it are the caller's. io.EOF is the other's end,
// os.ErrDeadlineExceeded that nothing came for silence, at the most half as long
// again; 0 waits for ever.
func (p *pairConn) receive(silence time.Duration) (*pairMessage, []*os.File, error) {
	if err := p.arm(silence); err != nil {
		return nil, nil, err
	}
	return p.next()
}

// arm sets the deadline of next, if it is not far enough off as it is.
func (p *pairConn) arm(silence time.Duration) error {
	now := time.Now()
	if silence == p.silence && (p.until.Sub(now) > silence || silence == 0) {
		return nil
	}
	p.silence, p.until = silence, now.Add(silence+silence/2)
	return p.c.SetReceiveTimeout(silence + silence/2)
}

// interrupt ends a next that is under way, or the one that follows unless arm
// comes between: whoever arms looks then whether it was meant.
func (p *pairConn) interrupt() { _ = p.c.SetReceiveTimeout(-1) }

// next is receive with the deadline as it is.
func (p *pairConn) next() (*pairMessage, []*os.File, error) {
	for {
		packet, files, err := p.c.Receive()
		if err != nil {
			p.silence = -1 // The deadline has passed, if that is why.
			return nil, nil, err
		}
		if err := p.m.decode(packet); err != nil {
			seqpacket.Close(files)
			return nil, nil, err
		}
		if files != nil && !p.m.kind.hasFiles() {
			seqpacket.Close(files)
			return nil, nil, fmt.Errorf("message %q between tap and worker has descriptors", p.m.kind)
		}
		if !p.m.kind.hasBody() {
			return &p.m, files, nil
		}
		whole, done, err := p.in.add(&p.m)
		if err != nil {
			seqpacket.Close(files)
			return nil, nil, err
		}
		if done {
			p.m.body = whole
			return &p.m, files, nil
		}
		seqpacket.Close(files) // Only a message in one packet has any.
	}
}

func (p *pairConn) close() { _ = p.c.Close() }
