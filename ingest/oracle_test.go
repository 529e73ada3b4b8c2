package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// TestOracle lets a server run a workload from its first moment on, and compares
// everything that ingest made of the WAL with the files of a stock server that
// was stopped by recovery_target_lsn at random LSNs. WALHAVEN_ORACLE_MAJORS=all
// takes one server of each version, all of which must be here, WALHAVEN_ORACLE_LSNS says at
// how many LSNs, and WALHAVEN_ORACLE_SQL names a folder of psql scripts to run, with
// pgbench, in place of the workloads here. WALHAVEN_ORACLE_SETTINGS, as in
// "full_page_writes=off wal_compression=on", and WALHAVEN_ORACLE_CHECKSUMS=off vary
// the server.
func TestOracle(t *testing.T) {
	count := 2
	if n, err := strconv.Atoi(os.Getenv("WALHAVEN_ORACLE_LSNS")); err == nil {
		count = n
	}
	computetest.EachServer(t, computetest.AllMajors(), func(t *testing.T, install compute.Install) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		o := newOracle(t, ctx, install)
		seed := uint64(time.Now().UnixNano())
		if s, err := strconv.ParseUint(os.Getenv("WALHAVEN_ORACLE_SEED"), 10, 64); err == nil {
			seed = s
		}
		t.Logf("WALHAVEN_ORACLE_SEED=%d", seed)
		for _, lsn := range o.choose(count, seed) {
			o.compare(t, ctx, lsn)
		}
		t.Logf("%s: %d records, compared at %d LSNs: %d pages equal, %d equal but for what may differ, %d SLRU pages\n%s",
			install.Version, o.records, count, o.exact, o.masked, o.slruPages, o.table())
	})
}

// oracle is a server that has run, its state before, and what ingest made of it.
type oracle struct {
	install compute.Install
	base    string // cold copy of the data directory before
	server  *compute.Server
	tl      *pagestore.Timeline
	start   wal.LSN
	ends    []wal.LSN // of records after the first checkpoint
	records int
	kinds   map[string]int
	// settings of the server and of those that are stopped.
	settings map[string]string

	compacted                bool
	exact, masked, slruPages int
}

var oracleSettings = map[string]string{
	"wal_level": "replica", "allow_in_place_tablespaces": "on", "wal_log_hints": "on", "wal_keep_size": "20GB", "max_wal_size": "20GB", "synchronous_commit": "off",
	"track_commit_timestamp": "on", "max_prepared_transactions": "20", "max_locks_per_transaction": "512", "shared_buffers": "32MB", "max_wal_senders": "5",
}

func newOracle(t *testing.T, ctx context.Context, install compute.Install) *oracle {
	t.Helper()
	o := &oracle{install: install, kinds: map[string]int{}, settings: maps.Clone(oracleSettings)}
	for _, setting := range strings.Fields(os.Getenv("WALHAVEN_ORACLE_SETTINGS")) {
		name, value, _ := strings.Cut(setting, "=")
		o.settings[name] = value
	}
	scripts := os.Getenv("WALHAVEN_ORACLE_SQL")
	if scripts != "" {
		o.settings["wal_level"] = "logical"
	}
	o.server = computetest.New(t, computetest.Options{
		Major: install.Version.Major, SegmentSize: 1 << 20, Settings: o.settings, NoStart: true,
		DataChecksums: os.Getenv("WALHAVEN_ORACLE_CHECKSUMS") != "off",
	})
	o.base = filepath.Join(computetest.TempDir(t), "base")
	copyTree(t, o.server.DataDir(), o.base)
	require.NoError(t, o.server.Start(ctx, compute.StartOptions{}))
	if scripts != "" {
		runScripts(t, ctx, o.server, scripts, install.Version.Major)
	} else {
		runWorkload(t, o.server)
	}
	require.NoError(t, o.server.Stop(ctx, compute.Fast))
	o.load(t)
	o.ingest(t)
	return o
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput()
	require.NoError(t, err, string(out))
}

// runScripts runs pgbench, then the scripts of a folder in the order of their
// names; what goes wrong in one is its own business.
func runScripts(t *testing.T, ctx context.Context, server *compute.Server, dir string, major int) {
	t.Helper()
	require.NoError(t, server.Exec(ctx, "CHECKPOINT"))
	require.NoError(t, server.Exec(ctx, "CREATE DATABASE redo"))
	for _, args := range [][]string{{"-i", "-s", "5", "redo"}, {"-c", "4", "-T", "10", "redo"}} {
		out, err := server.Pgbench(ctx, args...)
		require.NoError(t, err, out)
	}
	strategy := "1"
	if major == 14 {
		strategy = "0"
	}
	scripts, err := filepath.Glob(filepath.Join(dir, "*.sql"))
	require.NoError(t, err)
	for _, script := range scripts {
		out, err := server.Psql(ctx, "-X", "-q", "-d", "redo", "-v", "tsdir=", "-v", "has_strategy="+strategy, "-f", script)
		t.Logf("%s: %v %.300s", filepath.Base(script), err, out)
	}
}

func runWorkload(t *testing.T, server *compute.Server) {
	t.Helper()
	for _, file := range []string{"testdata/workload.sql", "../redo/testdata/workload.sql"} {
		computetest.RunScript(t, server, file)
	}
}

// load puts the files of the base, as of the end of its last checkpoint.
func (o *oracle) load(t testing.TB) {
	t.Helper()
	d := readDataDir(t, o.base)
	checkpoint := wal.LSN(binary.LittleEndian.Uint64(d.control[pgdata.ControlCheckPoint:]))
	o.start = o.endOfRecord(t, checkpoint)
	_, o.tl = newStore(t, t.TempDir(), o.start-1, pagestore.Options{MaxChainSize: 16 << 10})
	var entries []pagestore.Entry
	add := func(k pagestore.Key, value []byte) {
		entries = append(entries, pagestore.Entry{Key: k, LSN: o.start, Kind: pagestore.Image, Value: value})
	}
	for f, content := range d.relations {
		add(pagekey.RelationSize(f.rel, f.fork), pagekey.AppendSize(nil, uint32(len(content)/page.Size)))
		for n := range len(content) / page.Size {
			add(pagekey.Block(f.rel, f.fork, uint32(n)), pagekey.AppendPage(nil, (*page.Page)(content[n*page.Size:])))
		}
	}
	for s, segments := range d.slrus {
		for seg, content := range segments {
			add(pagekey.SLRUSegment(s, seg), pagekey.AppendSize(nil, uint32(len(content)/page.Size)))
			for n := range len(content) / page.Size {
				add(pagekey.SLRUPage(s, uint64(seg)*pagekey.SLRUSegmentPages+uint64(n)), pagekey.AppendPage(nil, (*page.Page)(content[n*page.Size:])))
			}
		}
	}
	for p, content := range d.relmaps {
		add(pagekey.RelMap(p.space, p.db), content)
	}
	for p := range d.databases {
		add(pagekey.Database(p.space, p.db), nil)
	}
	base(t, o.tl, o.start, d.control, entries...)
}

func (o *oracle) endOfRecord(t testing.TB, at wal.LSN) (end wal.LSN) {
	t.Helper()
	size := wal.SegmentSize(1 << 20)
	r := walrecord.NewReader(walrecord.ScannerOptions{Start: at, SegmentSize: size},
		func(start, e wal.LSN, _ []byte) error {
			if start == at {
				end = e
			}
			return nil
		})
	for _, name := range walFolder(t, o.base) {
		_, no, err := size.ParseFileName(name)
		require.NoError(t, err)
		if size.Start(no) > at || at >= size.Start(no)+wal.LSN(size) {
			continue
		}
		content := readFile(t, filepath.Join(o.base, "pg_wal", name))
		if err := r.Feed(at, content[at-size.Start(no):]); err != nil {
			require.True(t, walrecord.IsEnd(err), "%v", err)
		}
	}
	require.NotZero(t, end)
	return end
}

// ingest feeds all WAL of the server.
func (o *oracle) ingest(t testing.TB) {
	t.Helper()
	size := wal.SegmentSize(1 << 20)
	in, err := New(t.Context(), o.tl, Options{SegmentSize: size})
	require.NoError(t, err)
	rec := walrecord.Record{Major: o.install.Version.Major}
	seen := walrecord.NewReader(walrecord.ScannerOptions{Start: o.start, SegmentSize: size},
		func(start, end wal.LSN, b []byte) error {
			require.NoError(t, walrecord.Decode(b, start, end, &rec))
			o.record(&rec)
			return nil
		})
	for _, name := range walFolder(t, o.server.DataDir()) {
		_, no, err := size.ParseFileName(name)
		require.NoError(t, err)
		at := max(size.Start(no), in.Position())
		if at >= size.Start(no)+wal.LSN(size) {
			continue
		}
		content := readFile(t, filepath.Join(o.server.DataDir(), "pg_wal", name))[at-size.Start(no):]
		if err := in.Feed(t.Context(), at, content); err != nil {
			require.True(t, walrecord.IsEnd(err), "%v", err)
		}
		if err := seen.Feed(at, content); err != nil {
			require.True(t, walrecord.IsEnd(err), "%v", err)
			break
		}
	}
	require.Equal(t, o.tl.LastLSN(), seen.RecordEnd())
}

func (o *oracle) record(r *walrecord.Record) {
	o.records++
	o.kinds[r.RMID.String()+"/"+walrecord.Identify(r)]++
	if len(o.ends) > 0 || r.RMID == walrecord.RmgrXLOG && r.Op() == xlogCheckpointOnline {
		o.ends = append(o.ends, r.End)
	}
}

// choose draws LSNs that a server in recovery can stop at with all of its pages
// written: after a checkpoint, before the last records. One lies near the end.
func (o *oracle) choose(n int, seed uint64) (lsns []wal.LSN) {
	r := rand.New(rand.NewPCG(seed, 2))
	lsns = append(lsns, o.ends[len(o.ends)-20])
	for range n - 1 {
		lsns = append(lsns, o.ends[r.IntN(len(o.ends)-20)])
	}
	slices.Sort(lsns)
	return slices.Compact(lsns)
}

func (o *oracle) table() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(func(yield func(string) bool) {
		for k := range o.kinds {
			if !yield(k) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%8d %s\n", o.kinds[kind], kind)
	}
	return b.String()
}

// compare stops a stock server at an LSN and compares its files.
func (o *oracle) compare(t *testing.T, ctx context.Context, lsn wal.LSN) {
	t.Helper()
	dir := filepath.Join(computetest.TempDir(t), "standby")
	copyTree(t, o.base, dir)
	settings := map[string]string{
		"restore_command": "cp " + filepath.Join(o.server.DataDir(), "pg_wal") + "/%f %p", "recovery_target_lsn": lsn.String(),
		"recovery_target_inclusive": "off", "recovery_target_action": "shutdown", "hot_standby": "off",
	}
	maps.Copy(settings, o.settings)
	standby := computetest.Open(t, o.install, dir, settings)
	require.NoError(t, standby.WriteFile("recovery.signal", nil))
	started := standby.Start(ctx, compute.StartOptions{}) // Ends by itself, maybe before it is up.
	select {
	case <-standby.Done():
	case <-ctx.Done():
		t.Fatal("the standby does not reach its target")
	}
	log := string(readFile(t, standby.LogFile()))
	require.Contains(t, log, "recovery stopping before WAL location", "%v", started)
	require.NotContains(t, log, "database system is ready to accept connections")
	before := o.exact + o.masked
	d := readDataDir(t, dir)
	o.compareFiles(t, d, lsn)
	require.Greater(t, o.exact+o.masked-before, 1000)
	if !o.compacted { // The same again, from layers with images in them.
		require.NoError(t, o.tl.Flush(ctx))
		require.NoError(t, o.tl.Compact(ctx))
		o.compacted = true
		o.compareFiles(t, d, lsn)
	}
	require.NoError(t, os.RemoveAll(dir))
}

func (o *oracle) compareFiles(t *testing.T, d *dataDir, lsn wal.LSN) {
	t.Helper()
	c := comparison{oracle: o, t: t, lsn: lsn, d: d}
	c.relations()
	c.slrus()
	c.specials()
	require.Zero(t, c.failures, "at %s", lsn)
}

// comparison is one of a server's files with what can be read at an LSN.
type comparison struct {
	*oracle
	t        *testing.T
	lsn      wal.LSN
	d        *dataDir
	failures int
	replay   pagekey.Replayer
}

func (c *comparison) failf(format string, args ...any) {
	c.t.Helper()
	if c.failures++; c.failures <= 20 {
		c.t.Errorf("at %s: %s", c.lsn, fmt.Sprintf(format, args...))
	}
}

func (c *comparison) scan(r pagestore.KeyRange, f func(ref *pagekey.Ref, v *pagestore.Value)) {
	c.t.Helper()
	err := c.tl.Scan(c.t.Context(), r, c.lsn, pagestore.ScanOptions{}, func(k pagestore.Key, v *pagestore.Value) (bool, error) {
		ref, err := pagekey.Parse(k)
		if err == nil {
			f(&ref, v)
		}
		return true, err
	})
	require.NoError(c.t, err)
}

func (c *comparison) relations() {
	sizes := map[relFork]uint32{}
	c.scan(pagekey.Relations(), func(ref *pagekey.Ref, v *pagestore.Value) {
		blocks, err := pagekey.ParseSize(v.Image)
		require.NoError(c.t, err)
		f := relFork{ref.Rel, ref.Fork}
		sizes[f] = blocks
		if _, ok := c.d.relations[f]; !ok && f.fork != walrecord.ForkFSM {
			c.failf("%s %s: %d blocks, the server has no such file", f.rel, f.fork, blocks)
		}
	})
	var v pagestore.Value
	for f, content := range c.d.relations {
		if f.fork == walrecord.ForkFSM {
			continue
		}
		theirs := uint32(len(content) / page.Size)
		if blocks, ok := sizes[f]; !ok || blocks != theirs {
			c.failf("%s %s: %d blocks (exists %v), the server has %d", f.rel, f.fork, blocks, ok, theirs)
		}
		for n := range theirs {
			var ours page.Page
			key := pagekey.Block(f.rel, f.fork, n)
			if err := c.tl.Get(c.t.Context(), key, c.lsn, &v); err == nil {
				if err := c.replay.Page(key, &v, &ours); err != nil {
					c.failf("%s %s block %d: %v", f.rel, f.fork, n, err)
					continue
				}
			} else {
				require.ErrorIs(c.t, err, pagestore.ErrNotFound)
			}
			c.page(f, n, &ours, (*page.Page)(content[int(n)*page.Size:]))
		}
	}
}

// page compares two pages: all of it, or all that redo decides.
func (c *comparison) page(f relFork, n uint32, ours, theirs *page.Page) {
	a, b := *ours, *theirs
	a.SetChecksum(0)
	b.SetChecksum(0)
	if a == b {
		c.exact++
		return
	}
	c.masked++
	if a.LSN() != b.LSN() {
		c.failf("%s %s block %d: pd_lsn %s, the server has %s", f.rel, f.fork, n, a.LSN(), b.LSN())
		return
	}
	if f.fork == walrecord.ForkVM && (a.IsNew() || b.IsNew()) {
		a.Init(0)
		if b.IsNew() {
			b.Init(0)
		}
	}
	mask := maskOf(f.fork, theirs)
	mask(&a, n, true)
	mask(&b, n, true)
	if a != b {
		at := 0
		for a[at] == b[at] {
			at++
		}
		c.failf("%s %s block %d differs from byte %d on: % x, the server has % x", f.rel, f.fork, n, at,
			a[at:min(at+16, page.Size)], b[at:min(at+16, page.Size)])
	}
}

func (c *comparison) slrus() {
	var (
		v     pagestore.Value
		empty page.Page
	)
	for s, segments := range c.d.slrus {
		c.scan(pagekey.SLRUSegments(s), func(ref *pagekey.Ref, _ *pagestore.Value) {
			if _, ok := segments[ref.Segment]; !ok {
				c.failf("%s/%04X: the server has no such file", s.Dir(), ref.Segment)
			}
		})
		for seg, content := range segments {
			for n := range pagekey.SLRUSegmentPages {
				var ours page.Page
				theirs := &empty
				if (n+1)*page.Size <= len(content) {
					theirs = (*page.Page)(content[n*page.Size:])
				}
				key := pagekey.SLRUPage(s, uint64(seg)*pagekey.SLRUSegmentPages+uint64(n))
				if err := c.tl.Get(c.t.Context(), key, c.lsn, &v); err == nil {
					require.NoError(c.t, c.replay.Page(key, &v, &ours))
				}
				c.slruPages++
				if ours != *theirs {
					at := 0
					for ours[at] == theirs[at] {
						at++
					}
					c.failf("%s/%04X page %d differs from byte %d on: % x, the server has % x", s.Dir(), seg, n, at,
						ours[at:min(at+16, page.Size)], theirs[at:min(at+16, page.Size)])
				}
			}
		}
	}
}

// specials compares relation maps, databases, prepared transactions and the
// checkpoint in the control file.
func (c *comparison) specials() {
	for p, content := range c.d.relmaps {
		var v pagestore.Value
		if err := c.tl.Get(c.t.Context(), pagekey.RelMap(p.space, p.db), c.lsn, &v); err != nil || !bytes.Equal(v.Image, content) {
			c.failf("pg_filenode.map of %v differs (%v)", p, err)
		}
	}
	c.scan(pagekey.RelMaps(), func(ref *pagekey.Ref, _ *pagestore.Value) {
		if p := (place{ref.Rel.Tablespace, ref.Rel.Database}); c.d.relmaps[p] == nil {
			c.failf("pg_filenode.map of %v: the server has none", p)
		}
	})
	ours := map[place]bool{}
	c.scan(pagekey.Databases(), func(ref *pagekey.Ref, _ *pagestore.Value) {
		ours[place{ref.Rel.Tablespace, ref.Rel.Database}] = true
	})
	for p := range c.d.databases {
		if !ours[p] && c.d.relmaps[p] != nil { // A tablespace's folder of a database may hold tables only.
			c.failf("database %v is missing", p)
		}
	}
	c.prepared()
	c.control()
}

// prepared compares prepared transactions. A server writes the files of those
// that were prepared before its checkpoint's redo pointer; the rest is in WAL.
func (c *comparison) prepared() {
	redo := wal.LSN(binary.LittleEndian.Uint64(c.d.control.checkpoint()[pgdata.CheckPointRedo:]))
	n := 0
	c.scan(pagekey.TwoPhases(), func(ref *pagekey.Ref, v *pagestore.Value) {
		theirs, ok := c.d.twophase[ref.Number]
		if ok {
			n++
		}
		if ok && !bytes.Equal(theirs, v.Image) || !ok && v.ImageLSN <= redo {
			c.failf("state of prepared transaction %d differs", ref.Number)
		}
	})
	if n != len(c.d.twophase) {
		c.failf("%d prepared transactions, the server has %d", n, len(c.d.twophase))
	}
}

func (c *comparison) control() {
	var v pagestore.Value
	require.NoError(c.t, c.tl.Get(c.t.Context(), pagekey.ControlFile(), c.lsn, &v))
	ours, err := parseControl(v.Image)
	require.NoError(c.t, err)
	at := func(b control) uint64 { return binary.LittleEndian.Uint64(b[pgdata.ControlCheckPoint:]) }
	if at(ours) == at(c.d.control) && !bytes.Equal(ours.checkpoint(), c.d.control.checkpoint()) {
		c.failf("checkpoint %x, the server has %x", ours.checkpoint(), c.d.control.checkpoint())
	}
	if at(ours) < at(c.d.control) {
		c.failf("checkpoint at %s, the server has %s", wal.LSN(at(ours)), wal.LSN(at(c.d.control)))
	}
	if !bytes.Equal(ours[pgdata.ControlWALLevel:pgdata.ControlTrackCommitTS+1], c.d.control[pgdata.ControlWALLevel:pgdata.ControlTrackCommitTS+1]) {
		c.failf("parameters differ")
	}
}
