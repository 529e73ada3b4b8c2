package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
)

// trustAll lets everybody in.
type trustAll struct{}

func (trustAll) Authenticate(_ context.Context, s *protocol.Session, _ protocol.Exchange) (protocol.Identity, error) {
	return protocol.Identity{User: s.User, Method: "trust", Admin: true}, nil
}

// testHandler answers a table of commands, some replication commands, and a
// stream whose course a test decides.
type testHandler struct {
	table    *admin.Table
	begin    func(*protocol.Session) (protocol.Settings, error)
	stream   func(ctx context.Context, s *protocol.CopyStream) error
	after    func(w *protocol.ResultWriter) error
	running  chan struct{} // receives when WAIT began
	begun    atomic.Int64
	ended    atomic.Int64
	mu       sync.Mutex
	executed []string
}

func newTestHandler(t testing.TB) *testHandler {
	h := &testHandler{running: make(chan struct{}, 10)}
	commands := append(admin.Standard(func(_ context.Context, target any) ([]admin.Setting, error) {
		s := target.(*protocol.Session)
		list := []admin.Setting{
			{Name: "wal_segment_size", Value: "16MB"},
			{Name: "data_directory_mode", Value: "0700"},
			{Name: "database", Value: s.Database},
			{Name: "user", Value: s.User},
			{Name: "pid", Value: fmt.Sprint(s.PID)},
		}
		for name, value := range s.Parameters() {
			list = append(list, admin.Setting{Name: name, Value: value})
		}
		return list, nil
	}), admin.Command{
		Name: "SHOW TIMELINES", Columns: admin.Text("tenant_id", "name", "commit_lsn"),
		Help: "List the timelines.",
		Handler: func(_ context.Context, _ *admin.Call, emit admin.Emit) error {
			for i := range 3 {
				if err := emit(fmt.Sprintf("%032x", i), nil, fmt.Sprintf("0/%X", i)); err != nil {
					return err
				}
			}
			return nil
		},
	}, admin.Command{
		Name: "FAIL", Args: []admin.Arg{{Name: "severity", Optional: true}}, Help: "Fail.",
		Handler: func(_ context.Context, c *admin.Call, _ admin.Emit) error {
			e := protocol.Errorf(protocol.CodeNotInState, "it failed").WithDetail("A detail.").WithHint("A hint.")
			e.Severity = strings.ToUpper(c.Args["severity"])
			return fmt.Errorf("run: %w", e)
		},
	}, admin.Command{
		Name: "READ", Help: "Fail to read a file that is too short.", Hidden: true,
		Handler: func(context.Context, *admin.Call, admin.Emit) error {
			return protocol.Errorf(protocol.CodeDataCorrupted, "read a file: %w", io.ErrUnexpectedEOF)
		},
	}, admin.Command{
		Name: "WAIT", Help: "Wait until cancelled.",
		Handler: func(ctx context.Context, _ *admin.Call, _ admin.Emit) error {
			h.running <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		},
	}, admin.Command{
		Name: "MANY", Args: []admin.Arg{{Name: "rows", Kind: admin.KindUint}}, Columns: admin.Text("text"), Help: "Many rows.",
		Handler: func(_ context.Context, c *admin.Call, emit admin.Emit) error {
			var n int
			_, _ = fmt.Sscan(c.Args["rows"], &n)
			for i := range n {
				if err := emit(fmt.Sprintf("%01000d", i)); err != nil {
					return err
				}
			}
			return nil
		},
	})
	var err error
	h.table, err = admin.NewTable(commands...)
	require.NoError(t, err)
	return h
}

func (h *testHandler) Begin(_ context.Context, s *protocol.Session) (protocol.Settings, error) {
	h.begun.Add(1)
	if h.begin != nil {
		return h.begin(s)
	}
	return protocol.Settings{"server_version": "15.20 (walhaven)"}, nil
}

func (h *testHandler) End(*protocol.Session) { h.ended.Add(1) }

func (h *testHandler) Describe(_ context.Context, _ *protocol.Session, stmt string) ([]protocol.Column, error) {
	call, err := h.table.Lookup(stmt)
	if err != nil {
		return nil, err
	}
	return call.Columns(), nil
}

func (h *testHandler) Execute(ctx context.Context, s *protocol.Session, stmt string, w *protocol.ResultWriter) error {
	h.mu.Lock()
	h.executed = append(h.executed, stmt)
	h.mu.Unlock()
	cmd, err := admin.ParseReplication(stmt)
	if err != nil && s.Replication != protocol.None {
		return err
	}
	switch cmd := cmd.(type) {
	case admin.IdentifySystem:
		if err := w.Columns(protocol.Column{Name: "systemid"}, protocol.Column{Name: "timeline", Type: admin.TypeInt8},
			protocol.Column{Name: "xlogpos"}, protocol.Column{Name: "dbname"}); err != nil {
			return err
		}
		var database any
		if s.Replication == protocol.Database {
			database = s.Database
		}
		if err := w.Row(uint64(7710593507133112228), 1, "0/154C3E0", database); err != nil {
			return err
		}
		return w.Complete("IDENTIFY_SYSTEM")
	case admin.StartReplication, admin.StartWALPush:
		if r, ok := cmd.(admin.StartReplication); ok && r.Logical {
			return protocol.Errorf(protocol.CodeNotInState, "logical decoding requires wal_level >= logical")
		}
		stream, err := w.CopyBoth()
		if err != nil {
			return err
		}
		if err := h.stream(ctx, stream); err != nil {
			return err
		}
		if h.after != nil {
			return h.after(w)
		}
		return nil
	}
	call, err := h.table.Lookup(stmt)
	if err != nil {
		return err
	}
	call.Target = s
	return protocol.RunCall(ctx, call, w)
}

// serve runs a server on a free loopback port until the test ends.
func serve(t testing.TB, h protocol.Handler, o protocol.Options) (addr string) {
	addr, _ = serveUntil(t, h, o)
	return addr
}

// serveUntil also returns what stops it, which waits for its end.
func serveUntil(t testing.TB, h protocol.Handler, o protocol.Options) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if o.Auth == nil {
		o.Auth = trustAll{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- protocol.NewServer(h, o).Serve(ctx, ln) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(testTimeout):
				t.Error("server did not end")
			}
		})
	}
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

// drain receives until the stream ends.
func drain(s *protocol.CopyStream) error {
	for {
		if _, err := s.Receive(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
