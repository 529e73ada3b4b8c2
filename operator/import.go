package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/baseimport"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
)

// ImportOptions are the choices of `walhaven import`.
type ImportOptions struct {
	From     string        // folder of a backup or of a stopped server; empty: a base backup is taken
	Postgres string        // connection string for BASE_BACKUP; empty: the cluster's
	Timeout  time.Duration // for committed WAL to reach the pageserver and pass the backup's end
	Out      io.Writer
}

// Import gives the cluster's pageservers, those that have no pages yet, a base
// backup to begin from, and returns when their pages are served.
func (c *Cluster) Import(ctx context.Context, o ImportOptions) error {
	if len(c.Pageservers) == 0 {
		return program.WithExit(program.ExitUsage, errors.New("the cluster file names no pageserver"))
	}
	for _, n := range c.Pageservers {
		i := importer{cluster: c, node: n, o: o, deadline: time.Now().Add(o.Timeout)}
		if err := i.run(ctx); err != nil {
			return fmt.Errorf("import into pageserver %d (%s): %w", n.ID, n.PG, err)
		}
	}
	return nil
}

// importer gives one pageserver its base.
type importer struct {
	cluster  *Cluster
	node     Node
	o        ImportOptions
	deadline time.Time

	stream *protocol.CopyStream
	said   time.Time // when progress was printed last
}

func (i *importer) say(format string, args ...any) { fmt.Fprintf(i.o.Out, format+"\n", args...) }

func (i *importer) run(ctx context.Context) error {
	row, err := i.await(ctx, "a safekeeper to push WAL", func(row replication.Row) bool { return row != nil })
	if err != nil {
		return err
	}
	switch row["pages"] {
	case "none":
		if err := i.send(ctx); err != nil {
			return err
		}
	case "active":
		i.say("pageserver %d has pages, from %s on", i.node.ID, row["oldest_page_lsn"])
		return nil
	case "importing":
		return errors.New("another import is running")
	}
	row, err = i.await(ctx, "committed WAL to pass the backup's end", func(row replication.Row) bool {
		return row["pages"] == "active" || row["pages"] == "none"
	})
	if err != nil {
		return err
	}
	if row["pages"] != "active" {
		return program.Explain(errors.New(row["pages_reason"]), "", "Run walhaven import again.")
	}
	i.say("pageserver %d serves pages from %s on", i.node.ID, row["oldest_page_lsn"])
	return nil
}

// importPoll is how often a pageserver is asked how far it is.
const importPoll = 100 * time.Millisecond

// await asks the pageserver for its timeline until done says so; a timeline that
// is not there yet is a nil row.
func (i *importer) await(ctx context.Context, what string, done func(replication.Row) bool) (replication.Row, error) {
	tick := time.NewTicker(importPoll)
	defer tick.Stop()
	for {
		rows, err := i.cluster.query(ctx, i.node.PG, "TIMELINE_STATUS", nil)
		if err != nil {
			return nil, err
		}
		var row replication.Row
		if len(rows) > 0 {
			row = rows[0]
		}
		if done(row) {
			return row, nil
		}
		if time.Now().After(i.deadline) {
			return nil, program.Explain(fmt.Errorf("waited for %s, in vain", what), row["pages_reason"], "walhaven status shows what is missing.")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// send runs the IMPORT command.
func (i *importer) send(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	source, closeSource, err := i.source(ctx)
	if err != nil {
		return err
	}
	defer closeSource()
	conninfo, err := i.cluster.conninfo(i.node.PG)
	if err != nil {
		return err
	}
	i.say("+ %s: IMPORT", i.node.PG)
	if i.stream, err = replication.Dial(ctx, conninfo, "IMPORT", replication.DialOptions{}); err != nil {
		return err
	}
	defer i.stream.Close() //nolint:errcheck // What it brought was read.
	// The server speaks before the end only to refuse.
	refused := make(chan error, 1)
	go func() {
		_, err := i.stream.Receive()
		if !errors.Is(err, io.EOF) {
			cancel(err)
		}
		refused <- err
	}()
	end, err := source(i)
	if err == nil {
		err = errors.Join(i.stream.Send(baseimport.AppendEnd(nil, end)), i.stream.CloseSend())
	}
	if err != nil {
		cancel(err)
		if told := <-refused; isRefusal(told) {
			return told
		}
		return err
	}
	if err := <-refused; !errors.Is(err, io.EOF) {
		return err
	}
	return i.result()
}

// isRefusal says that the pageserver told why it ended the stream.
func isRefusal(err error) bool {
	var told *protocol.Error
	return errors.As(err, &told)
}

func (i *importer) result() error {
	if err := i.stream.Handshake(); err != nil {
		return err
	}
	res, err := i.stream.ReadResult()
	if err != nil {
		return err
	}
	if len(res.Rows) != 1 || len(res.Rows[0]) != len(res.Columns) {
		return errors.New("the pageserver did not say what it imported")
	}
	row := replication.Row{}
	for k, name := range res.Columns {
		row[name] = string(res.Rows[0][k])
	}
	i.say("imported %s blocks of %s relations; the backup is consistent at %s", row["blocks"], row["relations"], row["stop_lsn"])
	return nil
}

// source is what the backup comes from.
func (i *importer) source(ctx context.Context) (func(baseimport.Sink) (baseimport.End, error), func(), error) {
	if i.o.From != "" {
		i.say("+ reading %s", i.o.From)
		return func(sink baseimport.Sink) (baseimport.End, error) {
			return baseimport.FromFolder(ctx, i.o.From, sink)
		}, func() {}, nil
	}
	conninfo := i.o.Postgres
	if conninfo == "" {
		conninfo = i.cluster.Postgres.Conninfo()
	}
	config, err := pgconn.ParseConfig(conninfo)
	if err != nil {
		return nil, nil, fmt.Errorf("connection string: %w", err)
	}
	config.RuntimeParams["replication"] = "true"
	config.RuntimeParams["application_name"] = "walhaven_import"
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	i.say("+ %s:%d: BASE_BACKUP", config.Host, config.Port)
	source := func(sink baseimport.Sink) (baseimport.End, error) {
		_, end, err := baseimport.FromServer(ctx, conn, baseimport.ServerOptions{Label: "walhaven import", Progress: i.progress}, sink)
		return end, err
	}
	return source, func() { _ = conn.Close(context.WithoutCancel(ctx)) }, nil
}

// progressEvery is how often progress is printed.
const progressEvery = 2 * time.Second

func (i *importer) progress(done, total uint64) {
	if now := time.Now(); now.Sub(i.said) >= progressEvery {
		if !i.said.IsZero() {
			i.say("  %d of about %d MB", done>>20, total>>20)
		}
		i.said = now
	}
}

// Begin implements baseimport.Sink.
func (i *importer) Begin(oid uint32, location string) error {
	return i.stream.Send(baseimport.AppendArchive(nil, oid, location))
}

// Data implements baseimport.Sink.
func (i *importer) Data(p []byte) error { return i.stream.Send(baseimport.DataHead, p) }
