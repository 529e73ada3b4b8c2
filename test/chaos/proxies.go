package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
)

// proxies is a network on loopback in which every link that is used is a TCP
// proxy. What is cut off waits in it, as data that TCP sends again does.
type proxies struct {
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu   sync.Mutex
	cond *sync.Cond
	lost map[link]bool
}

func newProxies() *proxies {
	p := &proxies{lost: map[link]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.cond = sync.NewCond(&p.mu)
	context.AfterFunc(p.ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.cond.Broadcast()
	})
	return p
}

func (p *proxies) close() {
	p.cancel()
	p.tasks.Wait()
}

func (p *proxies) String() string {
	return "no network namespaces are permitted: a TCP proxy a link, which holds back either direction; safekeepers reach each other by the links of postgres-1"
}

func (p *proxies) local(m machine) string          { return p.address(0, m) }
func (p *proxies) loopback(m machine) string       { return p.address(0, m) }
func (p *proxies) address(from, to machine) string { return fmt.Sprintf("127.77.%d.%d", from, to) }
func (p *proxies) on(_ machine, f func()) error    { f(); return nil }
func (p *proxies) cut(l link) error                { p.set(func() { p.lost[l] = true }); return nil }
func (p *proxies) heal() error                     { p.set(func() { clear(p.lost) }); return nil }
func (p *proxies) passes(l link) bool              { return !p.lost[l] || p.ctx.Err() != nil }
func (p *proxies) expose(to machine, port int) error {
	for from := safekeeper1; from < endOfMachines; from++ {
		if err := p.listen(from, to, strconv.Itoa(port)); err != nil {
			return err
		}
	}
	return nil
}

func (p *proxies) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.cond.Broadcast()
}

// await returns when bytes may pass.
func (p *proxies) await(l link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.passes(l) {
		p.cond.Wait()
	}
}

// listen takes connections of from to a port of to.
func (p *proxies) listen(from, to machine, port string) error {
	listener, err := (&net.ListenConfig{}).Listen(p.ctx, "tcp", net.JoinHostPort(p.address(from, to), port))
	if err != nil {
		return fmt.Errorf("proxy from %s to %s: %w", from, to, err)
	}
	context.AfterFunc(p.ctx, func() { _ = listener.Close() })
	p.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				p.tasks.Go(func() { p.serve(conn, from, to, port) })
			}
		}
	})
	return nil
}

// serve carries one connection until either end closes it.
func (p *proxies) serve(conn net.Conn, from, to machine, port string) {
	defer func() { _ = conn.Close() }()
	p.await(link{from, to})
	p.await(link{to, from})
	other, err := (&net.Dialer{}).DialContext(p.ctx, "tcp", net.JoinHostPort(p.local(to), port))
	if err != nil {
		return
	}
	defer func() { _ = other.Close() }()
	defer context.AfterFunc(p.ctx, func() { _ = errors.Join(conn.Close(), other.Close()) })()
	var both sync.WaitGroup
	both.Go(func() { p.copy(other, conn, link{from, to}) })
	p.copy(conn, other, link{to, from})
	both.Wait()
}

// copy carries one direction; its end ends the other, too.
func (p *proxies) copy(to, from net.Conn, l link) {
	defer func() { _ = errors.Join(to.Close(), from.Close()) }()
	chunk := make([]byte, 64<<10)
	for {
		n, err := from.Read(chunk)
		p.await(l)
		if _, werr := to.Write(chunk[:n]); werr != nil || err != nil {
			return
		}
	}
}
