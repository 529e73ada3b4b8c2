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

	in assembler
	m  pairMessage
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

// receive returns the next message; a body is whole. It is valid until the next
// call. Files that came with it are the caller's. io.EOF is the other's end.
func (p *pairConn) receive(silence time.Duration) (*pairMessage, []*os.File, error) {
	for {
		if err := p.c.SetReceiveTimeout(silence); err != nil {
			return nil, nil, err
		}
		packet, files, err := p.c.Receive()
		if err != nil {
			return nil, nil, err
		}
		if err := p.m.decode(packet); err != nil {
			seqpacket.Close(files)
			return nil, nil, err
		}
		if files != nil && p.m.kind != pairBegin {
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
