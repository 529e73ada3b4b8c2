package oracle

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/baseimport"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// messages carries an import from its source to its receiver.
type messages chan []byte

func (m messages) Begin(oid uint32, location string) error {
	m <- baseimport.AppendArchive(nil, oid, location)
	return nil
}

func (m messages) Data(p []byte) error {
	m <- append(append([]byte(nil), baseimport.DataHead...), p...)
	return nil
}

func (m messages) receive() ([]byte, error) {
	b, ok := <-m
	if !ok {
		return nil, io.EOF
	}
	return b, nil
}

// load runs a source and a loader against each other.
func load(t *testing.T, tl *pagestore.Timeline, source func(sink baseimport.Sink) (baseimport.End, error)) (baseimport.Base, baseimport.End) {
	t.Helper()
	ctx := context.Background()
	stream := make(messages, 16)
	failed := make(chan error, 1)
	go func() {
		end, err := source(stream)
		if err == nil {
			stream <- baseimport.AppendEnd(nil, end)
		}
		close(stream)
		failed <- err
	}()
	r := baseimport.NewReceiver(stream.receive)
	l := baseimport.NewLoader(tl)
	for {
		oid, location, end, err := r.Next()
		if err != nil {
			require.NoError(t, <-failed)
		}
		require.NoError(t, err)
		if end != nil {
			base, err := l.Finish(ctx)
			require.NoError(t, err)
			require.NoError(t, <-failed)
			require.NotZero(t, l.Stats().Blocks)
			return base, *end
		}
		if location != "" {
			require.NoError(t, l.Tablespace(ctx, oid, location))
		}
		require.NoError(t, l.Archive(ctx, oid, r))
	}
}

// fromServer takes a backup of a running server.
func fromServer(t *testing.T, server *compute.Server) func(baseimport.Sink) (baseimport.End, error) {
	return func(sink baseimport.Sink) (baseimport.End, error) {
		ctx := context.Background()
		conn, err := pgconn.Connect(ctx, server.Conninfo()+" replication=true")
		if err != nil {
			return baseimport.End{}, err
		}
		defer conn.Close(ctx) //nolint:errcheck // The backup is what counts.
		_, end, err := baseimport.FromServer(ctx, conn, baseimport.ServerOptions{Label: "it's a test"}, sink)
		return end, err
	}
}

// replay feeds the WAL of a stopped server to the end.
func replay(t *testing.T, tl *pagestore.Timeline, server *compute.Server, major int) {
	t.Helper()
	ctx := context.Background()
	in, err := ingest.New(ctx, tl, ingest.Options{PGVersion: uint32(major), SegmentSize: wal.DefaultSegmentSize})
	require.NoError(t, err)
	for {
		at := in.Position()
		name := wal.DefaultSegmentSize.FileName(1, wal.DefaultSegmentSize.SegmentNo(at))
		data, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", name))
		if os.IsNotExist(err) {
			return
		}
		require.NoError(t, err)
		err = in.Feed(ctx, at, data[wal.DefaultSegmentSize.Offset(at):])
		if walrecord.IsEnd(err) {
			return
		}
		require.NoError(t, err)
	}
}

func newTimeline(t *testing.T) *pagestore.Timeline {
	t.Helper()
	store, err := pagestore.Open(filepath.Join(t.TempDir(), "pages"), pagestore.Options{Materialize: pagekey.Materialize, MemLayerSize: 8 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	tl, err := store.Create(wal.TimelineID{1}, 1)
	require.NoError(t, err)
	return tl
}

// workload is SQL whose every page is compared.
const workload = `
CREATE TABLE t (id int PRIMARY KEY, v text, g point, a int[], r int4range);
CREATE INDEX ON t USING hash (id); CREATE INDEX ON t USING gin (a); CREATE INDEX ON t USING gist (g);
CREATE INDEX ON t USING spgist (g); CREATE INDEX ON t USING brin (id);
INSERT INTO t SELECT i, repeat(md5(i::text), 1 + i % 7), point(i, i % 97), ARRAY[i % 50, i], int4range(i, i + 5) FROM generate_series(1, 4000) i;
CREATE SEQUENCE s; SELECT nextval('s') FROM generate_series(1, 50);
CREATE UNLOGGED TABLE u (i int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 100);
CREATE TABLE gone (i int); INSERT INTO gone SELECT generate_series(1, 1000); 
CREATE TABLE short (i int); INSERT INTO short SELECT generate_series(1, 30000); VACUUM short;
CREATE DATABASE other;
`

// changes run after the backup, so that they come by WAL.
const changes = `
UPDATE t SET v = v || 'x' WHERE id % 3 = 0; DELETE FROM t WHERE id % 5 = 0; VACUUM FREEZE t;
DROP TABLE gone; DELETE FROM short WHERE i > 3000; VACUUM short; TRUNCATE u;
INSERT INTO t SELECT i, 'later', point(i, i), ARRAY[i], int4range(i, i + 1) FROM generate_series(10001, 14000) i;
BEGIN; INSERT INTO t SELECT i FROM generate_series(20001, 20100) i; ROLLBACK;
SELECT count(*) FROM (SELECT 1 FROM t FOR SHARE) x;
CREATE DATABASE third; DROP DATABASE other; REINDEX TABLE t; CLUSTER t USING t_pkey; CHECKPOINT;
UPDATE t SET id = -id WHERE id % 2 = 0;
`

// Every block of every relation, and every SLRU, equals the server's after a base
// backup under load and the WAL since its start.
func TestImportUnderLoad(t *testing.T) {
	ctx := context.Background()
	server := computetest.New(t, computetest.Options{DataChecksums: true, Settings: map[string]string{
		"wal_keep_size": "2GB", "max_prepared_transactions": "5", "track_commit_timestamp": "on", "max_wal_senders": "5", "wal_level": "replica",
	}})
	psql := func(sql string) {
		t.Helper()
		for _, statement := range statements(sql) {
			_, err := server.Psql(ctx, "-c", statement)
			require.NoError(t, err, statement)
		}
	}
	space := filepath.Join(computetest.TempDir(t), "space")
	account, err := compute.RunAs()
	require.NoError(t, err)
	for _, dir := range []string{space, space + "2"} {
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, account.Own(dir))
	}
	psql("CREATE TABLESPACE far LOCATION '" + space + "'")
	psql(workload)
	psql("CREATE TABLE distant TABLESPACE far AS SELECT * FROM t; CREATE INDEX ON distant (id) TABLESPACE far")
	psql("BEGIN; INSERT INTO distant (id) VALUES (-1); PREPARE TRANSACTION 'open'")
	_, err = server.Pgbench(ctx, "-i", "-s", "2", "-q")
	require.NoError(t, err)

	copied := filepath.Join(computetest.TempDir(t), "copied")
	require.NoError(t, server.BaseBackup(ctx, copied, "-X", "none", "--tablespace-mapping", space+"="+space+"2"))

	load1, stop := context.WithCancel(ctx)
	defer stop()
	bench := make(chan struct{})
	go func() {
		defer close(bench)
		_, _ = server.Pgbench(load1, "-c", "3", "-T", "60", "-n")
	}()
	tl := newTimeline(t)
	base, end := load(t, tl, fromServer(t, server))
	psql(changes)
	stop()
	<-bench
	psql("COMMIT PREPARED 'open'")
	psql("CHECKPOINT")
	kinds := Catalog(t, server)
	version, err := server.QueryValue(ctx, "SHOW server_version_num")
	require.NoError(t, err)
	psql("UPDATE t SET v = 'last' WHERE id % 7 = 0")
	text, err := server.QueryValue(ctx, "SELECT pg_current_wal_insert_lsn()")
	require.NoError(t, err)
	stop1, err := wal.ParseLSN(text)
	require.NoError(t, err)
	_, err = server.Pgbench(ctx, "-t", "100", "-n")
	require.NoError(t, err)
	require.NoError(t, server.Stop(ctx, compute.Fast))

	replay(t, tl, server, walrecord.Major(number(t, version)))
	require.Greater(t, stop1, end.Stop)
	reader := pageread.New(pageread.Options{
		Timeline: tl, Position: pageread.NewPosition(tl.LastLSN()), Cache: pageread.NewCache(32<<20, nil), Floor: end.Stop, WaitTimeout: time.Second,
	})
	_, err = reader.Exactly(ctx, base.Start)
	require.Error(t, err, "below the backup's end nothing is consistent")
	stopped := stopAt(t, server, copied, stop1)
	result := Compare(t, stopped, kinds, Reader(t, reader, stop1))
	t.Log(result)
	require.Zero(t, result.Differ+result.Refused, result.String())
	require.Greater(t, result.Blocks, 3000)
	require.Greater(t, result.SLRUPages, 3)
}

// stopAt lets a stock server recover a base backup up to an LSN and stop there;
// it returns its data directory.
func stopAt(t *testing.T, origin *compute.Server, backup string, lsn wal.LSN) string {
	t.Helper()
	computetest.StopAt(t, origin.Install(), backup, lsn, map[string]string{
		"restore_command":           "cp " + filepath.Join(origin.DataDir(), "pg_wal") + "/%f %p",
		"max_prepared_transactions": "5", "track_commit_timestamp": "on",
	})
	return backup
}

// statements cuts SQL at line feeds and semicolons: those that may not run in a
// transaction must come alone.
func statements(sql string) (list []string) {
	for line := range strings.Lines(sql) {
		if strings.HasPrefix(line, "BEGIN") {
			list = append(list, line)
			continue
		}
		for _, s := range strings.Split(line, ";") {
			if s = strings.TrimSpace(s); s != "" {
				list = append(list, s)
			}
		}
	}
	return list
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	require.NoError(t, err)
	return uint32(n)
}
