package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// latest is the --at that means: with every commit acknowledged by now.
const latest = "latest"

// LSNAt turns an --at into the LSN that it means. "latest" covers every commit
// that was acknowledged before the call; so does a time, which is asked again
// once all of those are there unless a later commit is known already.
func (c *Cluster) LSNAt(ctx context.Context, at string) (*Rows, error) {
	if at == latest {
		end, err := c.applyLatest(ctx)
		if err != nil {
			return nil, err
		}
		at = end.String()
	}
	rows, err := c.askPages(ctx, lsnColumns, "SHOW LSN AT "+quoteLiteral(at))
	if err != nil || rows.Values[0]["complete"] == "t" {
		return rows, err
	}
	if _, err := c.applyLatest(ctx); err != nil {
		return rows, nil //nolint:nilerr // The row says that it is not complete.
	}
	return c.askPages(ctx, lsnColumns, "SHOW LSN AT "+quoteLiteral(at))
}

// Window returns the exact range that pages are kept for.
func (c *Cluster) Window(ctx context.Context) (*Rows, error) {
	return c.askPages(ctx, windowColumns, "SHOW WINDOW")
}

// FindOptions are the choices of `walhaven find`.
type FindOptions struct {
	What    string // drop, truncate, restore-point
	Pattern string // empty: all
	Kinds   string // relkinds; empty: all but indexes and TOAST
	Limit   uint32
}

// Find looks for drops, truncations and restore points. The error of an empty
// answer has the exit code for what was not found.
func (c *Cluster) Find(ctx context.Context, o FindOptions) (*Rows, error) {
	sql := "FIND " + quoteLiteral(o.What)
	if o.Pattern != "" {
		sql += " NAMED " + quoteLiteral(o.Pattern)
	}
	if o.Kinds != "" {
		sql += " KINDS " + quoteLiteral(o.Kinds)
	}
	if o.Limit > 0 {
		sql += fmt.Sprintf(" LIMIT %d", o.Limit)
	}
	rows, err := c.askPages(ctx, findColumns, sql)
	if err == nil && len(rows.Values) == 0 {
		err = program.WithExit(program.ExitNotFound, fmt.Errorf("no %s of this name lies within the window", o.What))
	}
	return rows, err
}

// Columns of the answers, in order; the names are the pageserver's.
var (
	lsnColumns    = []string{"lsn", "commit_lsn", "commit_time", "commit_xid", "next_commit_lsn", "next_commit_time", "complete"}
	windowColumns = []string{
		"oldest_lsn", "oldest_time", "newest_lsn", "newest_commit_lsn", "newest_commit_time", "restore_window", "oldest_wal_lsn", "pins",
	}
	findColumns = []string{"lsn", "before_lsn", "time", "xid", "event", "database", "schema", "name", "kind", "oid", "relation", "blocks"}
)

// askTimeout bounds one question about the past, which may read many pages.
const askTimeout = 5 * time.Minute

// askPages asks the pageservers one after the other until one answers. What one
// of them says about the question itself is the answer, too.
func (c *Cluster) askPages(ctx context.Context, columns []string, sql string) (*Rows, error) {
	if len(c.Pageservers) == 0 {
		return nil, program.WithExit(program.ExitUsage, errors.New("the cluster file names no pageserver"))
	}
	var failures []error
	for _, n := range c.Pageservers {
		conninfo, err := c.conninfo(n.PG)
		if err != nil {
			return nil, err
		}
		values, err := replication.Query(ctx, conninfo, sql, replication.DialOptions{Timeout: askTimeout})
		if err == nil {
			return &Rows{Columns: columns, Values: values}, nil
		}
		if code, ok := answered(err); ok {
			return nil, program.WithExit(code, err)
		}
		failures = append(failures, fmt.Errorf("pageserver %d (%s): %w", n.ID, n.PG, err))
	}
	return nil, errors.Join(failures...)
}

// answered says whether an error is about the question, and not about the
// pageserver, and which exit code it stands for.
func answered(err error) (code int, ok bool) {
	switch protocol.SQLState(err) {
	case protocol.CodeOutsideWindow:
		return program.ExitOutsideWindow, true
	case protocol.CodeUndefinedObject:
		return program.ExitNotFound, true
	case protocol.CodeInvalidParameter, protocol.CodeSyntaxError:
		return program.ExitUsage, true
	}
	return 0, false
}

// quoteLiteral quotes a value as SQL wants it.
func quoteLiteral(v string) string { return "'" + strings.ReplaceAll(v, "'", "''") + "'" }

// applyLatest waits until a pageserver has pages of every commit that was
// acknowledged before the call, and returns the end of those.
func (c *Cluster) applyLatest(ctx context.Context) (wal.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	v, err := c.awaitQuorum(ctx)
	if err == nil {
		v, err = c.latest(ctx, v)
	}
	if err != nil {
		return 0, program.WithExit(program.ExitQuorumLost, fmt.Errorf("find the end of what is committed: %w", err))
	}
	var last error
	applied := wal.LSN(0)
	err = poll(ctx, applyPoll, func() (bool, error) {
		for _, n := range c.Pageservers {
			row, err := c.timelineRow(ctx, n.PG)
			if err != nil {
				last = fmt.Errorf("pageserver %d (%s): %w", n.ID, n.PG, err)
				continue
			}
			if row["pages"] != "active" {
				return false, fmt.Errorf("pageserver %d has no pages: %s", n.ID, row["pages_reason"])
			}
			lsn, err := row.LSN("applied_lsn")
			if err != nil {
				return false, err
			}
			if applied = max(applied, lsn); applied >= v.commit {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return 0, errors.Join(fmt.Errorf("wait for pages up to %s, which end at %s: %w", v.commit, applied, err), last)
	}
	return v.commit, nil
}

const (
	// applyTimeout bounds the wait for a pageserver to have what is committed.
	applyTimeout = time.Minute
	applyPoll    = 50 * time.Millisecond
)
