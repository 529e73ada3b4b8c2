package walproposer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// server is what PostgreSQL says of itself.
type server struct {
	SystemID    wal.SystemID
	PGVersion   uint32
	SegmentSize wal.SegmentSize
	TLIHistory  wal.TimelineHistory
	Flush       wal.LSN
}

// politeSettings make sure that our own sessions neither time out nor wait for
// ourselves.
func politeSettings(name string) map[string]string {
	return map[string]string{
		"application_name": name, "statement_timeout": "0", "lock_timeout": "0",
		"idle_session_timeout": "0", "synchronous_commit": "local",
	}
}

// origin is how PostgreSQL is reached.
type origin struct{ conninfo, password string }

func (o Options) origin() origin { return origin{o.Postgres, o.PostgresPassword} }

func (o origin) configure(c *pgconn.Config) error {
	c.Password = cmp.Or(c.Password, o.password)
	return nil
}

// connectTimeout bounds connecting to PostgreSQL.
const connectTimeout = 10 * time.Second

// connectReplication opens the connection that WAL will come from.
func connectReplication(ctx context.Context, pg origin) (*replication.Client, error) {
	params := politeSettings(ApplicationName)
	params["replication"] = "true"
	c, err := replication.Connect(ctx, pg.conninfo, replication.DialOptions{
		Timeout: connectTimeout, Params: params, Configure: pg.configure,
	})
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return c, nil
}

// connectSQL opens a short-lived connection for questions. It is never kept: a
// smart shutdown would wait for it. Its synchronous_commit is the server's, for
// checks to see, until setLocal.
func connectSQL(ctx context.Context, pg origin) (*replication.Client, error) {
	params := politeSettings(ApplicationName + "-check")
	delete(params, "synchronous_commit")
	c, err := replication.Connect(ctx, pg.conninfo, replication.DialOptions{
		Timeout: connectTimeout, Params: params,
		Configure: func(c *pgconn.Config) error {
			c.Database = cmp.Or(c.Database, "postgres")
			return pg.configure(c)
		},
	})
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	return c, nil
}

func setLocal(ctx context.Context, c *replication.Client) error {
	_, err := c.Query(ctx, "SET synchronous_commit = local")
	return err
}

// shuttingDown is the SQLSTATE that a server answers to new connections while
// it stops or starts.
const shuttingDown = "57P03"

func isShuttingDown(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == shuttingDown
}

// describe asks a replication connection who the server is.
func describe(ctx context.Context, c *replication.Client) (server, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var s server
	id, err := one(ctx, c, "IDENTIFY_SYSTEM")
	if err != nil {
		return s, err
	}
	if s.SystemID, err = wal.ParseSystemID(id["systemid"]); err != nil {
		return s, err
	}
	if s.Flush, err = id.LSN("xlogpos"); err != nil {
		return s, err
	}
	tli, err := id.Uint("timeline")
	if err != nil || tli == 0 || tli > 1<<32-1 {
		return s, fmt.Errorf("IDENTIFY_SYSTEM: timeline %q", id["timeline"])
	}
	if s.TLIHistory, err = timelineHistory(ctx, c, wal.TLI(tli)); err != nil {
		return s, err
	}
	seg, err := one(ctx, c, "SHOW wal_segment_size")
	if err != nil {
		return s, err
	}
	if s.SegmentSize, err = wal.ParseSegmentSize(seg["wal_segment_size"]); err != nil {
		return s, err
	}
	version, err := one(ctx, c, "SHOW server_version_num")
	if err != nil {
		return s, err
	}
	v, err := strconv.ParseUint(version["server_version_num"], 10, 32)
	s.PGVersion = uint32(v)
	return s, err
}

func timelineHistory(ctx context.Context, c *replication.Client, tli wal.TLI) (wal.TimelineHistory, error) {
	if tli == 1 {
		return wal.TimelineHistory{Last: 1}, nil
	}
	row, err := one(ctx, c, fmt.Sprintf("TIMELINE_HISTORY %d", tli))
	if err != nil {
		return wal.TimelineHistory{}, err
	}
	return wal.ParseTimelineHistory(tli, []byte(row["content"]))
}

// one asks for exactly one row.
func one(ctx context.Context, c *replication.Client, sql string) (replication.Row, error) {
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %s: %w", sql, err)
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("PostgreSQL: %s: %d rows instead of one", sql, len(rows))
	}
	return rows[0], nil
}

// ensureSlot returns what the slot keeps WAL from, making it when it is missing.
// It refuses one that PostgreSQL has invalidated: the WAL between is gone.
//
// A slot made here reserves nothing (0) until the first report to PostgreSQL.
// Hence what a slot keeps was confirmed by a quorum, or is the position at which
// the timeline was founded; were it where PostgreSQL happened to begin, the next
// session would not compare anything below.
func ensureSlot(ctx context.Context, pg origin, slot string) (wal.LSN, error) {
	return withSlot(ctx, pg, slot, func(ctx context.Context, c *replication.Client, restart wal.LSN, found bool) (wal.LSN, error) {
		if found {
			return restart, nil
		}
		return 0, makeSlot(ctx, c, slot, false)
	})
}

// reserveSlot returns what the slot keeps WAL from. One that is missing, or keeps
// nothing, is made so that it keeps what a new timeline begins with.
func reserveSlot(ctx context.Context, pg origin, slot string) (wal.LSN, error) {
	return withSlot(ctx, pg, slot, func(ctx context.Context, c *replication.Client, restart wal.LSN, found bool) (wal.LSN, error) {
		if restart != 0 {
			return restart, nil
		}
		if found {
			if _, err := c.Query(ctx, "SELECT pg_drop_replication_slot('"+slot+"')"); err != nil {
				return 0, fmt.Errorf("drop replication slot that keeps nothing: %w", err)
			}
		}
		if err := makeSlot(ctx, c, slot, true); err != nil {
			return 0, err
		}
		restart, _, err := readSlot(ctx, c, slot)
		return restart, err
	})
}

func makeSlot(ctx context.Context, c *replication.Client, slot string, reserve bool) error {
	if _, err := c.Query(ctx, fmt.Sprintf("SELECT pg_create_physical_replication_slot('%s', %t)", slot, reserve)); err != nil {
		return fmt.Errorf("make replication slot: %w", err)
	}
	return nil
}

// withSlot reads the slot on a primary and has f go on from there.
func withSlot(ctx context.Context, pg origin, slot string,
	f func(ctx context.Context, c *replication.Client, restart wal.LSN, found bool) (wal.LSN, error),
) (wal.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := connectSQL(ctx, pg)
	if err != nil {
		return 0, err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	if err := setLocal(ctx, c); err != nil {
		return 0, err
	}
	row, err := one(ctx, c, "SELECT pg_is_in_recovery() AS standby")
	if err != nil {
		return 0, err
	}
	if row["standby"] == "t" {
		return 0, errStandby
	}
	restart, found, err := readSlot(ctx, c, slot)
	if err != nil {
		return 0, err
	}
	return f(ctx, c, restart, found)
}

// errStandby says that the server is not a primary yet.
var errStandby = errors.New("PostgreSQL is in recovery: only a primary has WAL of its own to push")

// readSlot returns what the slot keeps WAL from, 0 = nothing.
func readSlot(ctx context.Context, c *replication.Client, slot string) (restart wal.LSN, found bool, err error) {
	rows, err := c.Query(ctx, "SELECT slot_type, restart_lsn, wal_status FROM pg_replication_slots WHERE slot_name = '"+slot+"'")
	if err != nil {
		return 0, false, fmt.Errorf("read replication slot: %w", err)
	}
	if len(rows) == 0 {
		return 0, false, nil
	}
	row := rows[0]
	if row["slot_type"] != "physical" {
		return 0, true, refuse("replication slot %q is not physical", slot).hint("Choose another --slot.")
	}
	if row["wal_status"] == "lost" {
		return 0, true, refuse("replication slot %q was invalidated: PostgreSQL has removed WAL that the quorum lacks", slot).
			detail("max_slot_wal_keep_size was exceeded while commits could not be replicated.").hint(hintFresh)
	}
	if row["restart_lsn"] != "" {
		restart, err = row.LSN("restart_lsn")
	}
	return restart, true, err
}
