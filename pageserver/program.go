package pageserver

import (
	"context"
	"errors"
	"net/http"
	"os"
	"runtime/debug"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
)

// Program runs a pageserver as its configuration says until ctx is done. The
// listeners are bound before anything is reported ready.
func Program(ctx context.Context, c Config, settings []admin.Setting) error {
	if err := c.check(); err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	logger, err := c.NewLogger(os.Stderr)
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, err)
	}
	policy, tlsConfig, err := c.Access.Policy(logger, auth.ScopePageServerAPI)
	if err != nil {
		return err
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(divideMemory(int64(c.Memory)).heap)
	}
	processors := spare()
	ln, err := daemon.Listen(ctx, c.ListenPG)
	if err != nil {
		return err
	}
	health := daemon.NewHealth()
	registry := daemon.NewRegistry(program, health)
	s, err := New(Options{
		Config: c, Auth: policy, Tokens: policy.Tokens, TLS: tlsConfig, Logger: logger, Settings: settings,
		Registerer: registry, Health: health, Processors: processors,
	})
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	var group daemon.Group
	group.Add(program, func(ctx context.Context) error { return s.Run(ctx, ln) })
	if c.ListenHTTP != "" {
		web, err := daemon.Listen(ctx, c.ListenHTTP)
		if err != nil {
			return errors.Join(err, ln.Close(), s.Close())
		}
		server := daemon.NewHTTP(daemon.HTTPOptions{
			Program: program, Health: health, Gatherer: registry, V1: s.V1(), Logger: logger, TLS: tlsConfig,
		})
		group.Add("http", func(ctx context.Context) error { return server.Serve(ctx, web) })
	}
	return group.Run(ctx)
}

// V1 serves the table's reading commands as JSON.
func (s *Server) V1() http.Handler {
	return walcmd.HTTP(s.table, func(session *protocol.Session) error {
		_, err := s.Begin(context.Background(), session)
		return err
	})
}
