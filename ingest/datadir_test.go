package ingest

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// dataDir is what the files of a stopped server hold.
type dataDir struct {
	control   control
	relations map[relFork][]byte // without unlogged and temporary ones
	slrus     map[pagekey.SLRU]map[uint32][]byte
	relmaps   map[place][]byte
	twophase  map[uint32][]byte // without the CRC
	databases map[place]bool
}

var (
	relationFile = regexp.MustCompile(`^(\d+)(?:_(fsm|vm|init))?(?:\.(\d+))?$`)
	forkNumbers  = map[string]walrecord.Fork{"": walrecord.ForkMain, "fsm": walrecord.ForkFSM, "vm": walrecord.ForkVM, "init": walrecord.ForkInit}
)

const segmentBytes = 1 << 30

func readDataDir(t testing.TB, dir string) *dataDir {
	t.Helper()
	d := &dataDir{
		relations: map[relFork][]byte{}, slrus: map[pagekey.SLRU]map[uint32][]byte{}, relmaps: map[place][]byte{},
		twophase: map[uint32][]byte{}, databases: map[place]bool{},
	}
	raw, err := os.ReadFile(filepath.Join(dir, "global/pg_control"))
	require.NoError(t, err)
	d.control, err = parseControl(raw)
	require.NoError(t, err)
	d.readDatabase(t, filepath.Join(dir, "global"), place{1664, 0})
	d.readDatabases(t, filepath.Join(dir, "base"), 1663)
	spaces, err := filepath.Glob(filepath.Join(dir, "pg_tblspc/*/PG_*"))
	require.NoError(t, err)
	for _, s := range spaces {
		oid, err := strconv.ParseUint(filepath.Base(filepath.Dir(s)), 10, 32)
		require.NoError(t, err)
		d.readDatabases(t, s, uint32(oid))
	}
	for s := range pagekey.SLRU(4) {
		d.slrus[s] = map[uint32][]byte{}
		each(t, filepath.Join(dir, s.Dir()), func(name, path string) {
			n, err := strconv.ParseUint(name, 16, 32)
			require.NoError(t, err)
			d.slrus[s][uint32(n)] = readFile(t, path)
		})
	}
	each(t, filepath.Join(dir, "pg_twophase"), func(name, path string) {
		n, err := strconv.ParseUint(name, 16, 64)
		require.NoError(t, err)
		b := readFile(t, path)
		d.twophase[uint32(n)] = b[:len(b)-4]
	})
	return d
}

func each(t testing.TB, dir string, f func(name, path string)) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return
	}
	require.NoError(t, err)
	for _, e := range entries {
		f(e.Name(), filepath.Join(dir, e.Name()))
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func (d *dataDir) readDatabases(t testing.TB, dir string, space uint32) {
	t.Helper()
	each(t, dir, func(name, path string) {
		if db, err := strconv.ParseUint(name, 10, 32); err == nil {
			d.readDatabase(t, path, place{space, uint32(db)})
		}
	})
}

func (d *dataDir) readDatabase(t testing.TB, dir string, p place) {
	t.Helper()
	d.databases[p] = true
	unlogged := map[uint32]bool{}
	each(t, dir, func(name, path string) {
		if name == "pg_filenode.map" {
			d.relmaps[p] = readFile(t, path)
		}
		m := relationFile.FindStringSubmatch(name)
		if m == nil {
			return
		}
		n, err := strconv.ParseUint(m[1], 10, 32)
		require.NoError(t, err)
		f := relFork{walrecord.RelFile{Tablespace: p.space, Database: p.db, Relation: uint32(n)}, forkNumbers[m[2]]}
		unlogged[uint32(n)] = unlogged[uint32(n)] || f.fork == walrecord.ForkInit
		seg := 0
		if m[3] != "" {
			seg, err = strconv.Atoi(m[3])
			require.NoError(t, err)
		}
		b := readFile(t, path)
		whole := d.relations[f]
		if need := seg*segmentBytes + len(b); need > len(whole) {
			whole = append(whole, make([]byte, need-len(whole))...)
		}
		copy(whole[seg*segmentBytes:], b)
		d.relations[f] = whole
	})
	for f := range d.relations {
		if f.rel.Tablespace == p.space && f.rel.Database == p.db && unlogged[f.rel.Relation] && f.fork != walrecord.ForkInit {
			delete(d.relations, f)
		}
	}
}

// maskOf chooses the mask of a page by what the page says it is.
func maskOf(fork walrecord.Fork, p *page.Page) page.Mask {
	if fork == walrecord.ForkVM {
		return page.MaskVisibilityMap
	}
	id := uint16(p[page.Size-2]) | uint16(p[page.Size-1])<<8
	switch page.Size - p.Special() {
	case 0:
		return page.MaskHeap
	case 16:
		switch id {
		case 0xFF80:
			return page.MaskHash
		case 0xFF81:
			return page.MaskGist
		}
		return page.MaskBtree
	case 8:
		switch {
		case p[page.Size-8] == 0x17 && p[page.Size-7] == 0x17:
			return page.MaskPlain
		case id == 0xFF82:
			return page.MaskSPGist
		case id >= 0xF091 && id <= 0xF093:
			return page.MaskBRIN
		}
		return page.MaskGin
	}
	return page.MaskPlain
}

// walFolder reads the segments of pg_wal in order.
func walFolder(t testing.TB, dir string) (names []string) {
	t.Helper()
	each(t, filepath.Join(dir, "pg_wal"), func(name, _ string) {
		if len(name) == 24 && strings.Trim(name, "0123456789ABCDEF") == "" {
			names = append(names, name)
		}
	})
	require.NotEmpty(t, names)
	return names
}
