package pgdata

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/wal"
)

// Directory is a stopped data directory.
type Directory struct {
	Control
	Path    string
	Major   int
	History wal.TimelineHistory // of TLI

	// Standby and Recovery say that standby.signal and recovery.signal are there.
	Standby, Recovery bool
	// BackupStart is where a base backup that was not started yet begins, from its
	// backup_label; 0 = none.
	BackupStart wal.LSN
	// Confirmed is the restart_lsn of the slot that was asked for: what a quorum
	// had confirmed when the slot was last saved. 0 = no such slot, or never.
	Confirmed wal.LSN

	// Oldest is where the WAL that is here without a gap up to End begins, End where
	// its last whole record ends. Both are where recovery would begin when there
	// is none.
	Oldest, End wal.LSN
}

// ErrRunning says that a server runs in the directory.
var ErrRunning = errors.New("a server runs in this data directory")

// Open reads a data directory. slot names the slot whose position is wanted.
func Open(path, slot string) (*Directory, error) {
	d := &Directory{Path: path}
	switch server, err := postmaster.Running(path); {
	case err != nil:
		return nil, err
	case server != nil:
		return nil, fmt.Errorf("%w (process %d)", ErrRunning, server.PID)
	}
	version, err := d.read("PG_VERSION")
	if err != nil {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	if d.Major, err = strconv.Atoi(strings.TrimSpace(string(version))); err != nil || d.Major < 14 || d.Major > 18 {
		return nil, fmt.Errorf("read data directory: PostgreSQL %q is none of 14 to 18", strings.TrimSpace(string(version)))
	}
	control, err := d.read("global/pg_control")
	if err != nil {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	if d.Control, err = ParseControl(control); err != nil {
		return nil, fmt.Errorf("read data directory: %w", err)
	}
	d.Standby, d.Recovery = d.has("standby.signal"), d.has("recovery.signal")
	if content, err := d.read("backup_label"); err == nil {
		label, err := ParseLabel(content)
		if err != nil {
			return nil, fmt.Errorf("read data directory: %w", err)
		}
		d.BackupStart = label.Start
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if state, err := d.read(filepath.Join("pg_replslot", slot, "state")); err == nil {
		if d.Confirmed, err = ParseSlot(state); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := d.readHistory(); err != nil {
		return nil, err
	}
	return d, d.scan()
}

// maxFile bounds the files that are read whole, in bytes.
const maxFile = 1 << 20

func (d *Directory) read(name string) ([]byte, error) { return readWhole(filepath.Join(d.Path, name)) }

func readWhole(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("read %s: %d bytes are too many", path, info.Size())
	}
	return os.ReadFile(path)
}

func (d *Directory) has(name string) bool {
	_, err := os.Stat(filepath.Join(d.Path, name))
	return err == nil
}

func (d *Directory) readHistory() error {
	d.History = wal.TimelineHistory{Last: d.TLI}
	if d.TLI == 1 {
		return nil
	}
	content, err := d.read(fmt.Sprintf("pg_wal/%08X.history", uint32(d.TLI)))
	if err != nil {
		return fmt.Errorf("read timeline history: %w", err)
	}
	if d.History, err = wal.ParseTimelineHistory(d.TLI, content); err != nil {
		return fmt.Errorf("read timeline history: %w", err)
	}
	return nil
}
