package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/walhaven/walhaven/wal"
)

// fetch reads the committed bytes of want from whichever safekeeper has them
// into the front of content.
func (c *Cluster) fetch(ctx context.Context, v quorumView, tli wal.TLI, want wal.Range, content []byte) error {
	var failures []error
	for _, n := range v.nodes {
		if n.status.CommitLSN < want.End {
			continue
		}
		err := c.fetchFrom(ctx, n.Node, tli, want, content[:want.Len()])
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("safekeeper %d: %w", n.ID, err))
		if errors.Is(err, errOtherTimeline) {
			return fmt.Errorf("%w: %w", ErrPastEnd, err)
		}
	}
	if len(failures) == 0 {
		return fmt.Errorf("no safekeeper that answers has committed WAL up to %s: %w", want.End, ErrNoQuorum)
	}
	return errors.Join(failures...)
}

// errOtherTimeline says that the WAL asked for is not on the timeline asked for.
var errOtherTimeline = errors.New("not on this timeline")

func (c *Cluster) fetchFrom(ctx context.Context, n Node, tli wal.TLI, want wal.Range, into []byte) error {
	conninfo, err := c.conninfo(n.PG)
	if err != nil {
		return err
	}
	conn, err := pgconn.Connect(ctx, conninfo+" replication=true")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	err = pglogrepl.StartReplication(ctx, conn, "", pglogrepl.LSN(want.Start), pglogrepl.StartReplicationOptions{
		Timeline: int32(tli), Mode: pglogrepl.PhysicalReplication,
	})
	if err != nil {
		return classify(err)
	}
	for at := 0; at < len(into); {
		msg, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return classify(err)
		}
		switch msg := msg.(type) {
		case *pgproto3.CopyData:
			n, err := takeXLogData(msg.Data, want.Start+wal.LSN(at), into[at:])
			if err != nil {
				return err
			}
			at += n
		case *pgproto3.CopyDone:
			return fmt.Errorf("timeline %d ends at %s: %w", tli, want.Start+wal.LSN(at), errOtherTimeline)
		case *pgproto3.ErrorResponse:
			return classify(pgconn.ErrorResponseToPgError(msg))
		}
	}
	return nil
}

// takeXLogData copies the WAL of one message; others carry none.
func takeXLogData(data []byte, at wal.LSN, into []byte) (int, error) {
	if len(data) == 0 || data[0] != pglogrepl.XLogDataByteID {
		return 0, nil
	}
	x, err := pglogrepl.ParseXLogData(data[1:])
	if err != nil {
		return 0, err
	}
	if wal.LSN(x.WALStart) != at {
		return 0, fmt.Errorf("got WAL at %s, expected %s", wal.LSN(x.WALStart), at)
	}
	return copy(into, x.WALData), nil
}

// classify marks the answers that say for certain that the WAL is not on the
// timeline. Any other error must not end a recovery early.
func classify(err error) error {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && strings.Contains(pgErr.Message, "is not in this server's history") {
		return fmt.Errorf("%w: %w", errOtherTimeline, err)
	}
	return err
}

// isUndefinedFile says that the server has no such file (SQLSTATE 58P01), or
// answered without one.
func isUndefinedFile(err error) bool {
	var pgErr *pgconn.PgError
	return err == nil || errors.As(err, &pgErr) && pgErr.Code == "58P01"
}
