package oracle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

// segmentBlocks is the length of a relation's segment file (RELSEG_SIZE).
const segmentBlocks = 131072

// Result counts what was compared.
type Result struct {
	Files, Blocks, SLRUPages int
	Differences              []string // the first ones, and the first errors
	Differ                   int
	Refused                  int // answered with an error
}

func (r *Result) differ(format string, args ...any) {
	r.Differ++
	r.note(format, args...)
}

func (r *Result) refuse(format string, args ...any) {
	r.Refused++
	r.note(format, args...)
}

func (r *Result) note(format string, args ...any) {
	if len(r.Differences) < 30 {
		r.Differences = append(r.Differences, fmt.Sprintf(format, args...))
	}
}

func (r Result) String() string {
	return fmt.Sprintf("%d forks, %d blocks and %d SLRU pages compared, %d differ, %d refused\n%s",
		r.Files, r.Blocks, r.SLRUPages, r.Differ, r.Refused, strings.Join(r.Differences, "\n"))
}

// comparison is one run of Compare.
type comparison struct {
	Result
	t      testing.TB
	dir    string
	kinds  Kinds
	pages  Pages
	theirs map[Fork]string // first segment of each fork on disk
}

// Pages is what is compared, at one LSN.
type Pages interface {
	// Forks are all forks that exist, with their sizes in blocks.
	Forks(ctx context.Context) (map[Fork]uint32, error)
	// Page is a block, which is not written to.
	Page(ctx context.Context, f Fork, block uint32) (*page.Page, error)
	// Segments are the segments of an SLRU; ok is false if that is not known.
	Segments(ctx context.Context, slru pagekey.SLRU) (_ map[uint32]bool, ok bool, err error)
	// Segment is the content of a segment, whole pages.
	Segment(ctx context.Context, slru pagekey.SLRU, segment uint32) ([]byte, error)
}

// Fork is a fork of a relation.
type Fork struct {
	Rel  walrecord.RelFile
	Fork walrecord.Fork
}

// Compare compares pages with the data directory of a server that was stopped at
// their LSN. The free space map, a hint that is not in WAL, is left out, and so
// are unlogged relations but their init forks.
func Compare(t testing.TB, dir string, kinds Kinds, pages Pages) Result {
	t.Helper()
	ctx := context.Background()
	c := &comparison{t: t, dir: dir, kinds: kinds, pages: pages, theirs: map[Fork]string{}}
	c.list()
	c.relations(ctx)
	c.slrus(ctx)
	return c.Result
}

var fileName = regexp.MustCompile(`^([0-9]+)(?:_(vm|init))?$`)

// list finds the forks on disk.
func (c *comparison) list() {
	c.folder(filepath.Join(c.dir, "global"), walrecord.RelFile{Tablespace: 1664})
	c.databases(filepath.Join(c.dir, "base"), 1663)
	spaces, err := os.ReadDir(filepath.Join(c.dir, "pg_tblspc"))
	require.NoError(c.t, err)
	for _, s := range spaces {
		oid, err := strconv.ParseUint(s.Name(), 10, 32)
		require.NoError(c.t, err)
		versions, err := filepath.Glob(filepath.Join(c.dir, "pg_tblspc", s.Name(), "PG_*"))
		require.NoError(c.t, err)
		for _, v := range versions {
			c.databases(v, uint32(oid))
		}
	}
	for f := range c.theirs { // Unlogged ones are not in WAL.
		if _, unlogged := c.theirs[Fork{f.Rel, walrecord.ForkInit}]; unlogged && f.Fork != walrecord.ForkInit {
			delete(c.theirs, f)
		}
	}
}

func (c *comparison) databases(dir string, space uint32) {
	entries, err := os.ReadDir(dir)
	require.NoError(c.t, err)
	for _, e := range entries {
		if db, err := strconv.ParseUint(e.Name(), 10, 32); err == nil {
			c.folder(filepath.Join(dir, e.Name()), walrecord.RelFile{Tablespace: space, Database: uint32(db)})
		}
	}
}

func (c *comparison) folder(dir string, in walrecord.RelFile) {
	entries, err := os.ReadDir(dir)
	require.NoError(c.t, err)
	for _, e := range entries {
		parts := fileName.FindStringSubmatch(e.Name())
		if parts == nil {
			continue
		}
		n, err := strconv.ParseUint(parts[1], 10, 32)
		require.NoError(c.t, err)
		f := Fork{Rel: in, Fork: map[string]walrecord.Fork{"vm": walrecord.ForkVM, "init": walrecord.ForkInit}[parts[2]]}
		f.Rel.Relation = uint32(n)
		c.theirs[f] = filepath.Join(dir, e.Name())
	}
}

func (c *comparison) relations(ctx context.Context) {
	ours, err := c.pages.Forks(ctx)
	if err != nil {
		c.refuse("list of relations: %v", err)
		return
	}
	for f, blocks := range ours {
		if _, ok := c.theirs[f]; !ok && f.Fork != walrecord.ForkFSM {
			if _, unlogged := c.theirs[Fork{f.Rel, walrecord.ForkInit}]; !unlogged {
				c.differ("%s %s: %d blocks here, no file there", f.Rel, f.Fork, blocks)
			}
		}
	}
	for f, path := range c.theirs {
		c.Files++
		blocks, ok := ours[f]
		if !ok {
			c.differ("%s %s: not here", f.Rel, f.Fork)
			continue
		}
		if there := c.blocks(path); there != blocks {
			c.differ("%s %s: %d blocks here, %d there", f.Rel, f.Fork, blocks, there)
			blocks = min(blocks, there)
		}
		c.fork(ctx, f, path, blocks)
	}
}

// blocks is the length of a fork on disk.
func (c *comparison) blocks(path string) (n uint32) {
	for segment := 0; ; segment++ {
		st, err := os.Stat(segmentPath(path, segment))
		if errors.Is(err, fs.ErrNotExist) {
			return n
		}
		require.NoError(c.t, err)
		n += uint32(st.Size() / page.Size)
	}
}

func segmentPath(path string, segment int) string {
	if segment == 0 {
		return path
	}
	return path + "." + strconv.Itoa(segment)
}

func (c *comparison) fork(ctx context.Context, f Fork, path string, blocks uint32) {
	mask, known := c.kinds[f.Rel]
	if f.Fork == walrecord.ForkVM {
		mask = page.MaskVisibilityMap
	} else if !known {
		mask = page.MaskPlain // Of a database that takes no connections.
	}
	var file *os.File
	for block := range blocks {
		if block%segmentBlocks == 0 {
			var err error
			file, err = os.Open(segmentPath(path, int(block/segmentBlocks)))
			require.NoError(c.t, err)
			defer file.Close() //nolint:errcheck // It was only read.
		}
		var theirs page.Page
		_, err := file.ReadAt(theirs[:], int64(block%segmentBlocks)*page.Size)
		require.NoError(c.t, err)
		ours, err := c.pages.Page(ctx, f, block)
		c.Blocks++
		if err != nil {
			c.refuse("%s %s block %d: %v", f.Rel, f.Fork, block, err)
			continue
		}
		c.page(f, block, *ours, theirs, mask)
	}
}

func (c *comparison) page(f Fork, block uint32, ours, theirs page.Page, mask page.Mask) {
	if theirs.IsNew() && ours.IsNew() {
		return
	}
	ourLSN, theirLSN := ours.LSN(), theirs.LSN()
	mask(&ours, block, f.Fork == walrecord.ForkVM)
	mask(&theirs, block, f.Fork == walrecord.ForkVM)
	for i := range ours {
		if ours[i] != theirs[i] {
			c.differ("%s %s block %d: byte %d is %#x here, %#x there (pd_lsn %s and %s)",
				f.Rel, f.Fork, block, i, ours[i], theirs[i], ourLSN, theirLSN)
			return
		}
	}
}

// slrus compares the SLRUs that WAL describes.
func (c *comparison) slrus(ctx context.Context) {
	for _, slru := range []pagekey.SLRU{pagekey.CLOG, pagekey.MultiXactOffsets, pagekey.MultiXactMembers, pagekey.CommitTS} {
		ours, ok, err := c.pages.Segments(ctx, slru)
		if err != nil {
			c.refuse("list of %s: %v", slru.Dir(), err)
			continue
		}
		if !ok {
			continue
		}
		files, err := os.ReadDir(filepath.Join(c.dir, filepath.FromSlash(slru.Dir())))
		require.NoError(c.t, err)
		for _, f := range files {
			n, err := strconv.ParseUint(f.Name(), 16, 32)
			require.NoError(c.t, err)
			theirs, err := os.ReadFile(filepath.Join(c.dir, filepath.FromSlash(slru.Dir()), f.Name()))
			require.NoError(c.t, err)
			c.segment(ctx, slru, uint32(n), theirs)
			delete(ours, uint32(n))
		}
		for segment := range ours {
			c.differ("%s/%04X: not there", slru.Dir(), segment)
		}
	}
}

func (c *comparison) segment(ctx context.Context, slru pagekey.SLRU, segment uint32, theirs []byte) {
	ours, err := c.pages.Segment(ctx, slru, segment)
	if err != nil {
		c.refuse("%s/%04X: %v", slru.Dir(), segment, err)
		return
	}
	if len(ours) != len(theirs) {
		c.differ("%s/%04X: %d pages here, %d there", slru.Dir(), segment, len(ours)/page.Size, len(theirs)/page.Size)
	}
	for i := 0; i+page.Size <= min(len(ours), len(theirs)); i += page.Size {
		c.SLRUPages++
		for k := range page.Size {
			if ours[i+k] != theirs[i+k] {
				c.differ("%s/%04X page %d: byte %d is %#x here, %#x there", slru.Dir(), segment, i/page.Size, k, ours[i+k], theirs[i+k])
				break
			}
		}
	}
}
