package sender

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

const patience = time.Minute

// memory is a Source on a byte slice that begins at base.
type memory struct {
	mu      sync.Mutex
	changed chan struct{}
	base    wal.LSN
	oldest  wal.LSN
	bytes   []byte
	flush   wal.LSN
	commit  wal.LSN
	term    wal.Term
	history wal.TimelineHistory
}

const testSize = wal.MinSegmentSize

var testBase = wal.LSN(testSize) * 3

// newMemory holds n bytes, all of them committed.
func newMemory(n int) *memory {
	m := &memory{
		changed: make(chan struct{}), base: testBase, oldest: testBase, bytes: make([]byte, n),
		term: 1, history: wal.TimelineHistory{Last: 1},
	}
	for i := range m.bytes {
		m.bytes[i] = byte(i * 7 / 3)
	}
	m.flush = testBase + wal.LSN(n)
	m.commit = m.flush
	return m
}

// update changes the source and wakes all who wait.
func (m *memory) update(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *memory) get(f func(*memory) wal.LSN) wal.LSN {
	m.mu.Lock()
	defer m.mu.Unlock()
	return f(m)
}

func (m *memory) SegmentSize() wal.SegmentSize { return testSize }
func (m *memory) Oldest() wal.LSN              { return m.get(func(m *memory) wal.LSN { return m.oldest }) }
func (m *memory) FlushLSN() wal.LSN            { return m.get(func(m *memory) wal.LSN { return m.flush }) }
func (m *memory) CommitLSN() wal.LSN           { return m.get(func(m *memory) wal.LSN { return m.commit }) }

func (m *memory) History() wal.TimelineHistory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.history
}

func (m *memory) ReadAt(p []byte, at wal.LSN) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at < m.oldest {
		return 0, walstore.ErrRemoved
	}
	if at >= m.base+wal.LSN(len(m.bytes)) {
		return 0, io.EOF
	}
	return copy(p, m.bytes[at-m.base:]), nil
}

func (m *memory) Lend(wal.LSN, int) (walstore.Lent, bool) { return walstore.Lent{}, false }

func (m *memory) ReadTerm(term wal.Term, p []byte, at wal.LSN) (int, wal.LSN, error) {
	m.mu.Lock()
	current, flush := m.term, m.flush
	m.mu.Unlock()
	if current != term {
		return 0, 0, protocol.Errorf(protocol.CodeNotInState, "failed to acquire term %d, current term %d", term, current)
	}
	if at >= flush {
		return 0, flush, nil
	}
	n, err := m.ReadAt(p[:min(len(p), int(flush-at))], at)
	return n, flush, err
}

func (m *memory) await(ctx context.Context, ready func() (wal.LSN, bool, error)) (wal.LSN, error) {
	for {
		m.mu.Lock()
		changed := m.changed
		at, ok, err := ready()
		m.mu.Unlock()
		if ok || err != nil {
			return at, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (m *memory) WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error) {
	return m.await(ctx, func() (wal.LSN, bool, error) { return m.commit, m.commit > after, nil })
}

func (m *memory) WaitTerm(ctx context.Context, term wal.Term, after wal.LSN) (wal.LSN, error) {
	return m.await(ctx, func() (wal.LSN, bool, error) {
		if m.term != term {
			return 0, false, errors.New("failed to acquire term")
		}
		return m.flush, m.flush > after, nil
	})
}

// handler answers START_REPLICATION.
type handler struct {
	start func(context.Context, *protocol.ResultWriter, Request) error
}

func (h handler) Begin(context.Context, *protocol.Session) (protocol.Settings, error) {
	return nil, nil
}
func (h handler) End(*protocol.Session) {}
func (h handler) Describe(context.Context, *protocol.Session, string) ([]protocol.Column, error) {
	return nil, nil
}

func (h handler) Execute(ctx context.Context, _ *protocol.Session, stmt string, w *protocol.ResultWriter) error {
	parsed, err := admin.ParseReplication(stmt)
	if err != nil {
		return err
	}
	c, ok := parsed.(admin.StartReplication)
	if !ok {
		return w.Complete("OK")
	}
	return h.start(ctx, w, Request{Start: c.Start, TLI: c.TLI, Term: c.Term})
}

type anyone struct{}

func (anyone) Authenticate(_ context.Context, s *protocol.Session, _ protocol.Exchange) (protocol.Identity, error) {
	return protocol.Identity{User: s.User}, nil
}

// serve runs a server over the source and returns its connection string.
func serve(t *testing.T, o Options) string {
	t.Helper()
	return serveWith(t, func(ctx context.Context, w *protocol.ResultWriter, r Request) error {
		return Serve(ctx, w, r, o)
	})
}

func serveWith(t *testing.T, start func(context.Context, *protocol.ResultWriter, Request) error) string {
	t.Helper()
	return serveOptions(t, protocol.Options{Auth: anyone{}}, start)
}

func serveOptions(t *testing.T, o protocol.Options, start func(context.Context, *protocol.ResultWriter, Request) error) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- protocol.NewServer(handler{start}, o).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	host, port, err := net.SplitHostPort(ln.Addr().String())
	require.NoError(t, err)
	return "host=" + host + " port=" + port + " user=u dbname=d sslmode=disable"
}
