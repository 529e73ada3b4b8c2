package pageserver

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/wal"
)

// baseFile says, in a timeline's folder, what its pages began from. Without it
// there are none: what an interrupted import has left is removed.
const baseFile = "walhaven.base"

// base is what a timeline's pages began from.
type base struct {
	Start   wal.LSN // redo begins here
	Stop    wal.LSN // consistent from here on
	TLI     wal.TLI // the backup was taken on
	Visible bool    // committed WAL of the same history passed Stop
}

// readBase reads a timeline's base file; ok is false when there is none.
func readBase(dir string) (b base, ok bool, err error) {
	content, err := datadir.ReadSealed(vfs.Default, dir, baseFile)
	if errors.Is(err, fs.ErrNotExist) {
		return b, false, nil
	}
	if err != nil {
		return b, false, err
	}
	var start, stop string
	_, err = fmt.Sscanf(content, "start %s\nstop %s\ntli %d\nvisible %t\n", &start, &stop, &b.TLI, &b.Visible)
	if err == nil {
		b.Start, err = wal.ParseLSN(start)
	}
	if err == nil {
		b.Stop, err = wal.ParseLSN(stop)
	}
	if err != nil {
		return b, false, fmt.Errorf("read %s: %w", baseFile, err)
	}
	return b, true, nil
}

func writeBase(dir string, b base) error {
	return datadir.WriteSealed(vfs.Default, dir, baseFile,
		fmt.Sprintf("start %s\nstop %s\ntli %d\nvisible %t\n", b.Start, b.Stop, b.TLI, b.Visible))
}

func removeBase(dir string) error {
	if err := vfs.Default.Remove(vfs.Default.PathJoin(dir, baseFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", baseFile, err)
	}
	return datadir.SyncDir(vfs.Default, dir)
}

// onHistory says whether the base may lie on a history: its backup's timeline has
// not been left before the backup's end. A timeline newer than the history's last
// is one that is not known here yet.
func (b base) onHistory(h wal.TimelineHistory) bool {
	if _, known := h.Begin(b.TLI); !known {
		return b.TLI > h.Last
	}
	end, _, ended := h.SwitchPoint(b.TLI)
	return !ended || end >= b.Stop
}
