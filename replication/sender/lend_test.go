package sender

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
	"github.com/walhaven/walhaven/wal/walstore"
)

// stored is a Source whose WAL is in files.
type stored struct {
	*memory // the same WAL; positions and waits
	store   *walstore.Store
	dir     string
	loans   atomic.Int64
	onLoan  func() // called when something was lent, may be nil
}

func (s *stored) Oldest() wal.LSN                          { return s.store.Oldest() }
func (s *stored) ReadAt(p []byte, at wal.LSN) (int, error) { return s.store.ReadAt(p, at) }

func (s *stored) Lend(at wal.LSN, n int) (walstore.Lent, bool) {
	l, ok := s.store.Lend(at, n)
	if ok {
		s.loans.Add(1)
		if s.onLoan != nil {
			s.onLoan()
		}
	}
	return l, ok
}

// newStored holds so many segments of WAL and some, all of it committed.
func newStored(t *testing.T, segments int) *stored {
	t.Helper()
	b := walrecordtest.New(walrecordtest.Options{Start: testBase, SegmentSize: testSize})
	first, _ := b.Message(8200)
	for len(b.Bytes()) < segments*int(testSize)+200_000 {
		b.Message(8200)
	}
	s := &stored{memory: newMemory(len(b.Bytes())), dir: filepath.Join(t.TempDir(), "timeline")}
	copy(s.bytes, b.Bytes())
	var err error
	s.store, err = walstore.Create(s.dir, walstore.Control{
		ID: wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}}, Name: "main", SystemID: walrecordtest.SystemID,
		PGVersion: 180000, SegmentSize: testSize, Start: first, History: s.history, State: []byte("state"),
	}, walstore.Options{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.store.Close()) })
	require.NoError(t, s.store.Append(1, testBase, b.Bytes()))
	require.NoError(t, s.store.Sync())
	return s
}

// removeAll has retention take all that it may. Any goroutine may call it.
func (s *stored) removeAll(t *testing.T) {
	if n, err := s.store.RemoveBefore(s.flush); n == 0 || err != nil {
		t.Errorf("%d segments were removed: %v", n, err)
	}
}

// removedOpen are the removed files that somebody still has open.
func (s *stored) removedOpen(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name()) // One that was closed meanwhile has none.
		if strings.HasPrefix(name, s.dir) && strings.HasSuffix(name, "(deleted)") {
			names = append(names, name)
		}
	}
	return names
}

// serveTLS is serve with TLS.
func serveTLS(t *testing.T, o Options) string {
	t.Helper()
	web := httptest.NewTLSServer(nil)
	config := &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	web.Close()
	conninfo := serveOptions(t, protocol.Options{Auth: anyone{}, TLS: config}, func(ctx context.Context, w *protocol.ResultWriter, r Request) error {
		return Serve(ctx, w, r, o)
	})
	return strings.Replace(conninfo, "sslmode=disable", "sslmode=require", 1)
}

// TestWALFromItsFile: what a peer gets that is far behind is what was stored, across
// segments, and small pieces after it; with TLS nothing goes around the encryption.
func TestWALFromItsFile(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, Options) string{"plain": serve, "TLS": serveTLS} {
		t.Run(name, func(t *testing.T) {
			m := newStored(t, 3)
			all := m.flush
			m.commit = m.base + 2*wal.LSN(testSize) + 123_456
			var sent atomic.Uint64
			conninfo := serve(t, Options{Source: m, OnSent: func(at wal.LSN) { sent.Store(uint64(at)) }})
			c := stream(t, conninfo, "START_REPLICATION PHYSICAL "+(m.base+100).String()+" TIMELINE 1")
			require.Equal(t, m.bytes[100:m.commit-m.base], c.upto(m.base+100, m.commit))
			if name == "TLS" {
				require.Zero(t, m.loans.Load())
			} else {
				require.Greater(t, m.loans.Load(), int64(16), "two segments in frames of 128 KiB")
			}
			loans := m.loans.Load()
			for range 10 {
				from := m.commit
				m.update(func(m *memory) { m.commit += 5000 })
				require.Equal(t, m.bytes[from-m.base:m.commit-m.base], c.upto(from, m.commit))
			}
			require.Equal(t, loans, m.loans.Load(), "little is read")
			from := m.commit
			m.update(func(m *memory) { m.commit = all })
			require.Equal(t, m.bytes[from-m.base:], c.upto(from, all))
			require.NoError(t, c.Handshake())
			_, err := c.ReadResult()
			require.NoError(t, err)
			require.EqualValues(t, all, sent.Load())
		})
	}
}

// TestUncommittedIsNotLent: it may be cut while it is on its way, and who reads it has
// to be told.
func TestUncommittedIsNotLent(t *testing.T) {
	m := newStored(t, 1)
	m.commit = m.base + 50_000
	conninfo := serve(t, Options{Source: m})
	c := stream(t, conninfo, "START_REPLICATION PHYSICAL "+m.base.String()+" (term='1')")
	require.Equal(t, m.bytes, c.upto(m.base, m.flush))
	require.Zero(t, m.loans.Load())
}

// TestSegmentRemovedWhileItIsSent: the frame that was begun is sent whole, the next
// one is refused as ever, and the file is closed behind it.
func TestSegmentRemovedWhileItIsSent(t *testing.T) {
	m := newStored(t, 3)
	m.onLoan = func() {
		m.removeAll(t)
		m.onLoan = nil
	}
	served := make(chan error, 1)
	conninfo, _ := serveOne(t, Options{Source: m}, served)
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	require.Equal(t, m.bytes[:walstream.MaxData], c.upto(m.base, m.base+walstream.MaxData))
	e := c.failure()
	require.Equal(t, protocol.CodeUndefinedFile, e.Code)
	require.Equal(t, "requested WAL segment 000000010000000000000003 has already been removed", e.Message)
	require.Error(t, <-served)
	require.EqualValues(t, 1, m.loans.Load())
	require.Empty(t, m.removedOpen(t))
}

// TestSegmentThatIsTooShort ends the connection: a message was begun that cannot be
// completed, and nothing else may follow it.
func TestSegmentThatIsTooShort(t *testing.T) {
	m := newStored(t, 2)
	const left = 500_000
	require.NoError(t, os.Truncate(filepath.Join(m.dir, testSize.FileName(1, testSize.SegmentNo(m.base))), left))
	served := make(chan error, 1)
	conninfo, _ := serveOne(t, Options{Source: m}, served)
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	got := c.upto(m.base, m.base+left/walstream.MaxData*walstream.MaxData)
	require.Equal(t, m.bytes[:len(got)], got)
	_, err := c.Receive()
	require.ErrorIs(t, err, protocol.ErrPeerClosed)
	err = <-served
	require.ErrorContains(t, err, "file ended")
	require.ErrorContains(t, err, (m.base + wal.LSN(len(got))).String())
}

// TestClientGoesAwayInAFrame: the file is given back.
func TestClientGoesAwayInAFrame(t *testing.T) {
	m := newStored(t, 20)
	served := make(chan error, 1)
	conninfo, _ := serveOne(t, Options{Source: m}, served)
	c := stream(t, conninfo, "START_REPLICATION "+m.base.String())
	c.upto(m.base, m.base+walstream.MaxData)
	require.NoError(t, c.Close())
	require.Error(t, <-served)
	require.NotZero(t, m.loans.Load())
	m.removeAll(t)
	require.Empty(t, m.removedOpen(t))
}

// TestNoAllocationPerLentFrame is what a sender costs that is catching up.
func TestNoAllocationPerLentFrame(t *testing.T) {
	m := newStored(t, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	received := make(chan struct{})
	go func() {
		defer close(received)
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{client}, make([]byte, 1<<20))
	}()
	o := Options{Source: m}
	o.setDefaults()
	s := &session{o: o, tli: 1, at: m.base, buf: make([]byte, walstream.MaxData)}
	s.idle = time.AfterFunc(time.Hour, func() {})
	defer s.idle.Stop()
	s.stream = protocol.NewCopyStream(context.Background(), server, protocol.StreamOptions{Server: true})
	alloctest.None(t, 50, func() {
		s.at = m.base
		limit, _, err := s.limit()
		if err == nil {
			err = s.sendWAL(limit)
		}
		if err != nil {
			panic(err)
		}
	})
	require.NotZero(t, m.loans.Load())
	require.NoError(t, s.stream.Close())
	<-received
	require.NoError(t, client.Close())
}
