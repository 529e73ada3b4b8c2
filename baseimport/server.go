package baseimport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/wal"
)

// Sink takes a backup as it is read.
type Sink interface {
	// Begin begins the tar archive of a tablespace; 0 is the data directory's.
	Begin(oid uint32, location string) error
	// Data takes a run of the archive's bytes, valid during the call.
	Data(p []byte) error
}

// ServerOptions of a backup.
type ServerOptions struct {
	Label string
	// Progress is told how many bytes came, of how many by the server's estimate;
	// may be nil.
	Progress func(done, total uint64)
}

// FromServer takes a base backup by a replication connection, which is idle
// again afterwards unless there was an error.
func FromServer(ctx context.Context, conn *pgconn.PgConn, o ServerOptions, sink Sink) (pgdata.Label, End, error) {
	b := backup{conn: conn, o: o, sink: sink}
	// Only version 14, of those supported, has another form.
	b.typed = !strings.HasPrefix(conn.ParameterStatus("server_version"), "14")
	conn.Frontend().Send(&pgproto3.Query{String: b.command()})
	if err := conn.Frontend().Flush(); err != nil {
		return pgdata.Label{}, End{}, fmt.Errorf("ask for a base backup: %w", err)
	}
	if err := b.run(ctx); err != nil {
		return pgdata.Label{}, End{}, fmt.Errorf("base backup: %w", err)
	}
	return b.start, b.end, nil
}

// backup is one BASE_BACKUP in progress.
type backup struct {
	conn  *pgconn.PgConn
	o     ServerOptions
	sink  Sink
	typed bool // messages inside the copy say what they are: version 15 on

	spaces  []space // as announced
	copied  int     // copies that were begun
	results int     // result sets that have ended
	start   pgdata.Label
	end     End
	done    uint64
	total   uint64
}

type space struct {
	oid      uint32
	location string
}

func (b *backup) command() string {
	label := "'" + strings.ReplaceAll(b.o.Label, "'", "''") + "'"
	if !b.typed {
		return "BASE_BACKUP LABEL " + label + " PROGRESS FAST NOWAIT"
	}
	return "BASE_BACKUP (LABEL " + label + ", PROGRESS true, CHECKPOINT 'fast', WAIT false, MANIFEST 'no')"
}

// run reads the answer up to ReadyForQuery. Its result sets are the start, the
// tablespaces and, behind the archives, the end.
func (b *backup) run(ctx context.Context) error {
	var failure error
	for {
		msg, err := b.conn.ReceiveMessage(ctx)
		if err != nil {
			return errors.Join(failure, err)
		}
		switch m := msg.(type) {
		case *pgproto3.DataRow:
			err = b.row(m.Values)
		case *pgproto3.CommandComplete:
			b.results++
		case *pgproto3.CopyOutResponse:
			err = b.begin()
		case *pgproto3.CopyData:
			err = b.data(m.Data)
		case *pgproto3.ErrorResponse:
			failure = pgconn.ErrorResponseToPgError(m)
		case *pgproto3.ReadyForQuery:
			if failure == nil && (b.start.Start == 0 || b.end.Stop == 0) {
				failure = errors.New("the server did not say where the backup begins and ends")
			}
			return failure
		}
		if err != nil {
			return err
		}
	}
}

func (b *backup) row(values [][]byte) error {
	if b.results == 1 {
		return b.announced(values)
	}
	if len(values) < 2 {
		return errors.New("position with too few columns")
	}
	lsn, err := wal.ParseLSN(string(values[0]))
	if err != nil {
		return err
	}
	tli, err := strconv.ParseUint(string(values[1]), 10, 32)
	if err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	if b.results == 0 {
		b.start = pgdata.Label{Start: lsn, TLI: wal.TLI(tli)}
	} else {
		b.end = End{Stop: lsn, TLI: wal.TLI(tli)}
	}
	return nil
}

// announced takes a row of the list of tablespaces: OID, location, size in kB.
// The data directory's has neither of the first two.
func (b *backup) announced(values [][]byte) error {
	if len(values) < 3 {
		return errors.New("tablespace with too few columns")
	}
	s := space{location: string(values[1])}
	if len(values[0]) > 0 {
		oid, err := strconv.ParseUint(string(values[0]), 10, 32)
		if err != nil {
			return fmt.Errorf("tablespace: %w", err)
		}
		s.oid = uint32(oid)
	}
	if kb, err := strconv.ParseUint(string(values[2]), 10, 64); err == nil {
		b.total += kb << 10
	}
	b.spaces = append(b.spaces, s)
	return nil
}

// begin is a new copy: up to version 14 an archive, in the order announced.
func (b *backup) begin() error {
	if b.typed {
		return nil
	}
	if b.copied >= len(b.spaces) {
		return errors.New("more archives than tablespaces")
	}
	s := b.spaces[b.copied]
	b.copied++
	return b.sink.Begin(s.oid, s.location)
}

func (b *backup) data(p []byte) error {
	if b.typed {
		if len(p) == 0 {
			return errors.New("empty message")
		}
		switch p[0] {
		case 'n':
			return b.named(p[1:])
		case 'd':
			p = p[1:]
		case 'p', 'm': // Progress, which is counted here; the manifest begins.
			return nil
		default:
			return fmt.Errorf("message of kind %q", p[0])
		}
	}
	b.done += uint64(len(p))
	if b.o.Progress != nil {
		b.o.Progress(b.done, max(b.total, b.done))
	}
	for len(p) > 0 {
		n := min(len(p), MaxData)
		if err := b.sink.Data(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// named takes the beginning of an archive: its file name and the tablespace's
// location, each with a NUL.
func (b *backup) named(p []byte) error {
	name, rest, ok := bytes.Cut(p, []byte{0})
	location, _, ok2 := bytes.Cut(rest, []byte{0})
	oid, err := archiveOID(string(name))
	if !ok || !ok2 || err != nil {
		return fmt.Errorf("archive %q: %w", name, err)
	}
	return b.sink.Begin(oid, string(location))
}

// archiveOID is the tablespace of an archive's file name, such as 16390.tar; that
// of the data directory is base.tar.
func archiveOID(name string) (uint32, error) {
	name = strings.TrimSuffix(name, ".gz")
	if name == "base.tar" {
		return 0, nil
	}
	digits, ok := strings.CutSuffix(name, ".tar")
	oid, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || oid == 0 {
		return 0, errors.New("it is not the archive of a tablespace")
	}
	return uint32(oid), nil
}
