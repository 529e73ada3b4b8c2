package redo

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Tablespaces whose files lie below the data directory.
const (
	defaultTablespace = 1663
	globalTablespace  = 1664
)

// compareFiles compares the pages that redo made with the files of the server,
// which was stopped cleanly. No image shows what this does: the visibility map
// of servers that do not reference it, and pd_lsn. It returns how many main and
// map pages it compared.
func (k *oracle) compareFiles(t testing.TB, dataDir string) (mains, maps int) {
	t.Helper()
	files := map[string]*os.File{}
	defer func() {
		for _, f := range files {
			require.NoError(t, f.Close())
		}
	}()
	for key, ours := range k.pages {
		name := relationFile(dataDir, key)
		if name == "" || ours.IsNew() || k.holed[key] {
			continue
		}
		f, ok := files[name]
		if !ok {
			var err error
			if f, err = os.Open(name); err != nil {
				require.ErrorIs(t, err, os.ErrNotExist)
				continue // Dropped.
			}
			files[name] = f
		}
		theirs := new(page.Page)
		if _, err := f.ReadAt(theirs[:], int64(key.block%segmentBlocks)*page.Size); err != nil || theirs.IsNew() {
			continue // Truncated.
		}
		k.compareFile(key, ours, theirs)
		if key.fork == walrecord.ForkVM {
			maps++
		} else {
			mains++
		}
	}
	return mains, maps
}

// segmentBlocks is how many blocks a file of a relation has; there is only the
// first here.
const segmentBlocks = 131072

// relationFile is the file of a page, "" for those that are not compared.
func relationFile(dataDir string, key pageKey) string {
	dir := filepath.Join(dataDir, "base", fmt.Sprint(key.rel.Database))
	switch {
	case key.rel.Tablespace == globalTablespace:
		dir = filepath.Join(dataDir, "global")
	case key.rel.Tablespace != defaultTablespace:
		return ""
	}
	name := fmt.Sprint(key.rel.Relation)
	switch {
	case key.block >= segmentBlocks:
		return ""
	case key.fork == walrecord.ForkVM:
		name += "_vm"
	case key.fork != walrecord.ForkMain:
		return ""
	}
	return filepath.Join(dir, name)
}

func (k *oracle) compareFile(key pageKey, ours, theirs *page.Page) {
	id, known := k.managers[key]
	if !known || id == walrecord.RmgrSequence || id == walrecord.RmgrGeneric {
		return // Whole images only; values that were handed out; unknown kinds of page.
	}
	mask := MaskFor(&walrecord.Record{RMID: id}, &walrecord.Block{Fork: key.fork})
	a, b := *ours, *theirs
	mask(&a, key.block, true)
	mask(&b, key.block, true)
	what := ""
	switch {
	case a != b:
		what = difference(&a, &b)
	case ours.LSN() != theirs.LSN() && k.opt != (Options{}) && key.fork == walrecord.ForkMain:
		what = fmt.Sprintf("pd_lsn %s, want %s", ours.LSN(), theirs.LSN())
	default:
		return
	}
	if k.failed++; len(k.failures) < 20 {
		k.failures = append(k.failures, fmt.Sprintf("file of %s %s, block %d, %s: %s", key.rel, key.fork, key.block, id, what))
	}
}
