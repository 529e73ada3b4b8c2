package compute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// Connect opens a connection of the superuser to database dbname over the Unix
// socket. The caller closes it.
func (s *Server) Connect(ctx context.Context, dbname string) (*pgconn.PgConn, error) {
	config, err := pgconn.ParseConfig(s.conninfo(s.SocketDir(), dbname))
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return conn, nil
}

// Query runs sql, one or more statements, in database postgres and returns the
// last statement's rows as text, NULL as the empty string.
func (s *Server) Query(ctx context.Context, sql string) (_ [][]string, err error) {
	conn, err := s.Connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	if len(results) == 0 {
		return nil, nil
	}
	last := results[len(results)-1].Rows
	rows := make([][]string, len(last))
	for i, values := range last {
		rows[i] = make([]string, len(values))
		for j, value := range values {
			rows[i][j] = string(value)
		}
	}
	return rows, nil
}

// Exec runs sql, one or more statements, in database postgres.
func (s *Server) Exec(ctx context.Context, sql string) error {
	_, err := s.Query(ctx, sql)
	return err
}

// QueryValue runs sql and returns the first column of its only row.
func (s *Server) QueryValue(ctx context.Context, sql string) (string, error) {
	rows, err := s.Query(ctx, sql)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) == 0 {
		return "", fmt.Errorf("%s: %d rows, want one", sql, len(rows))
	}
	return rows[0][0], nil
}

// Set changes settings in our settings file, and in a running server as far as
// a reload does that; it returns when the reload has happened. Settings made by
// ALTER SYSTEM win over these.
func (s *Server) Set(ctx context.Context, settings map[string]string) error {
	s.mu.Lock()
	next := maps.Clone(s.settings)
	maps.Copy(next, settings)
	err := writeSettings(s.dataDir, next)
	if err == nil {
		s.settings = next
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if s.PID() == 0 {
		return nil
	}
	return s.Reload(ctx)
}

// Reload makes a running server read its settings and returns when it has.
func (s *Server) Reload(ctx context.Context) error {
	const loaded = "SELECT pg_conf_load_time()"
	before, err := s.QueryValue(ctx, loaded)
	if err != nil {
		return fmt.Errorf("reload settings: %w", err)
	}
	if err := s.Signal(syscall.SIGHUP, false); err != nil {
		return fmt.Errorf("reload settings: %w", err)
	}
	// New sessions inherit the time from the postmaster, so a changed one says
	// that the postmaster is done.
	err = until(ctx, nil, func() bool {
		now, err := s.QueryValue(ctx, loaded)
		return err == nil && now != before
	})
	if err != nil {
		return fmt.Errorf("reload settings: %w", err)
	}
	return nil
}

// WriteFile writes a file into the data directory for PostgreSQL's account,
// such as recovery.signal or pg_hba.conf; name is relative.
func (s *Server) WriteFile(name string, content []byte) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("write %s: not a path inside the data directory", name)
	}
	return writeFile(filepath.Join(s.dataDir, name), content)
}
