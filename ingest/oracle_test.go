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
// pgbench, in place of the workloads here: "kinds" are those that reach each kind of
// record. WALHAVEN_ORACLE_SETTINGS, as in "full_page_writes=off wal_compression=on",
// and WALHAVEN_ORACLE_CHECKSUMS=off vary the server.
func TestOracle(t *testing.T) {
	count := 2
	if n, err := strconv.Atoi(os.Getenv("WALHAVEN_ORACLE_LSNS")); err == nil {
		count = n
	}
	computetest.EachServer(t, computetest.AllMajors(), func(t *testing.T, install compute.Install) {
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
		defer cancel()
		o := newOracle(t, ctx, install)
		seed := uint64(time.Now().UnixNano())
		if s, err := strconv.ParseUint(os.Getenv("WALHAVEN_ORACLE_SEED"), 10, 64); err == nil {
			seed = s
		}
		t.Logf("WALHAVEN_ORACLE_SEED=%d", seed)
		defer func() { // Also of what differs.
			t.Logf("%s: %d records, compared at %d LSNs: %d pages equal, %d equal but for what may differ, %d SLRU pages\n%s",
				install.Version, o.records, count, o.exact, o.masked, o.slruPages, o.table())
		}()
		for _, lsn := range o.choose(count, seed) {
			o.compare(t, ctx, lsn)
			o.newest = lsn
		}
		o.reached(t)
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
	kinds   map[string]*kindSeen
	// truncated is where the last SLRU was truncated, newest the last LSN compared.
	truncated, newest wal.LSN
	endKind           []*kindSeen // of ends
	scripts           string      // folder of what ran, "" for the workloads here
	// settings of the server and of those that are stopped.
	settings map[string]string

	compacted                bool
	exact, masked, slruPages int
	// By folder: pages compared, and how many of them differ.
	slruSeen, slruMismatches map[string]int
}

// kindSeen counts the records of a kind, and the pages that differ and were last
// changed by one.
type kindSeen struct{ records, mismatches int }

// scriptsOnly are kinds of record that are ingest's own business, not that of redo,
// and that the workloads here leave to the scripts of computetest.KindsSQL.
var scriptsOnly = map[string]bool{
	"XLOG/BACKUP_END": true, "XLOG/FPW_CHANGE": true, "Transaction/INVALIDATION": true, "Tablespace/DROP": true,
	"CLOG/TRUNCATE": true, "CommitTs/TRUNCATE": true, "MultiXact/TRUNCATE_ID": true,
}

// must says whether what ran has to reach a kind of record: the scripts each, the
// workloads here those that change more than pages.
func (o *oracle) must(kind string) bool {
	if o.scripts != "" {
		return true
	}
	manager, _, _ := strings.Cut(kind, "/")
	switch manager {
	case "XLOG", "Transaction", "Storage", "CLOG", "CommitTs", "MultiXact", "Database", "Tablespace", "RelMap", "ReplicationOrigin", "LogicalMessage":
		return !scriptsOnly[kind]
	}
	return false
}

// reached asks for each kind of record of the version that what ran has to reach,
// but those that computetest.Unreached gives a reason for.
func (o *oracle) reached(t *testing.T) {
	if o.scripts != "" && o.scripts != computetest.KindsSQL || os.Getenv("WALHAVEN_ORACLE_SETTINGS") != "" {
		return
	}
	kinds := walrecord.Kinds(o.install.Version.Major)
	var without []string
	for _, kind := range kinds {
		switch {
		case o.kinds[kind] != nil:
		case computetest.Unreached[kind] != "":
			without = append(without, kind+": "+computetest.Unreached[kind])
		case o.must(kind):
			t.Errorf("no record of %s", kind)
		}
	}
	t.Logf("of %d kinds %d are reached; no workload reaches\n%s", len(kinds), len(o.kinds), strings.Join(without, "\n"))
	require.LessOrEqual(t, len(without), len(kinds)/10)
	if o.scripts != "" {
		require.Greater(t, o.newest, o.truncated, "SLRUs are compared once they are truncated")
	}
}

var oracleSettings = map[string]string{
	"wal_level": "replica", "allow_in_place_tablespaces": "on", "wal_log_hints": "on", "wal_keep_size": "20GB", "max_wal_size": "20GB", "synchronous_commit": "off",
	"track_commit_timestamp": "on", "max_prepared_transactions": "20", "max_locks_per_transaction": "512", "shared_buffers": "32MB", "max_wal_senders": "5",
}

func newOracle(t *testing.T, ctx context.Context, install compute.Install) *oracle {
	t.Helper()
	o := &oracle{
		install: install, kinds: map[string]*kindSeen{}, settings: maps.Clone(oracleSettings), scripts: os.Getenv("WALHAVEN_ORACLE_SQL"),
		slruSeen: map[string]int{}, slruMismatches: map[string]int{},
	}
	if o.scripts == "kinds" {
		o.scripts = computetest.KindsSQL
	}
	for _, setting := range strings.Fields(os.Getenv("WALHAVEN_ORACLE_SETTINGS")) {
		name, value, _ := strings.Cut(setting, "=")
		o.settings[name] = value
	}
	if o.scripts != "" {
		o.settings["wal_level"] = "logical"
	}
	o.server = computetest.New(t, computetest.Options{
		Major: install.Version.Major, SegmentSize: 1 << 20, Settings: o.settings, NoStart: true,
		DataChecksums: os.Getenv("WALHAVEN_ORACLE_CHECKSUMS") != "off",
	})
	o.base = filepath.Join(computetest.TempDir(t), "base")
	copyTree(t, o.server.DataDir(), o.base)
	require.NoError(t, o.server.Start(ctx, compute.StartOptions{}))
	if o.scripts != "" {
		computetest.RunScripts(t, o.server, o.scripts)
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
	name := walrecord.Kind(r)
	kind := o.kinds[name]
	if kind == nil {
		kind = &kindSeen{}
		o.kinds[name] = kind
	}
	kind.records++
	switch name {
	case "CLOG/TRUNCATE", "CommitTs/TRUNCATE", "MultiXact/TRUNCATE_ID":
		o.truncated = r.End
	}
	if len(o.ends) > 0 || r.RMID == walrecord.RmgrXLOG && r.Op() == xlogCheckpointOnline {
		o.ends = append(o.ends, r.End)
		o.endKind = append(o.endKind, kind)
	}
}

// blame counts a page that differs with the record that ended at its LSN.
func (o *oracle) blame(lsn wal.LSN) {
	if i, ok := slices.BinarySearch(o.ends, lsn); ok {
		o.endKind[i].mismatches++
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

// table is a line a kind: records, pages that differ.
func (o *oracle) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%8s %10s\n", "records", "mismatches")
	for _, name := range slices.Sorted(maps.Keys(o.kinds)) {
		fmt.Fprintf(&b, "%8d %10d %s\n", o.kinds[name].records, o.kinds[name].mismatches, name)
	}
	for _, name := range slices.Sorted(maps.Keys(o.slruMismatches)) {
		fmt.Fprintf(&b, "%8d %10d pages of %s\n", o.slruSeen[name], o.slruMismatches[name], name)
	}
	return b.String()
}

// compare stops a stock server at an LSN and compares its files.
func (o *oracle) compare(t *testing.T, ctx context.Context, lsn wal.LSN) {
	t.Helper()
	dir := filepath.Join(computetest.TempDir(t), "standby")
	copyTree(t, o.base, dir)
	settings := map[string]string{"restore_command": "cp " + filepath.Join(o.server.DataDir(), "pg_wal") + "/%f %p"}
	maps.Copy(settings, o.settings)
	computetest.StopAt(t, o.install, dir, lsn, settings)
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
		c.blame(b.LSN())
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
		c.blame(theirs.LSN())
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
		c.slruMismatches[s.Dir()] += 0
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
				c.slruSeen[s.Dir()]++
				if ours != *theirs {
					c.slruMismatches[s.Dir()]++
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
