package safekeeper

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/wal"
)

const (
	slotsFile        = "walhaven.slots"
	slotsFileVersion = "version 1"
)

// loadSlots reads the persistent slots of the timeline in dir; a missing file
// means that there are none.
func loadSlots(fs vfs.FS, dir string) ([]slot, error) {
	content, err := datadir.ReadSealed(fs, dir, slotsFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load replication slots: %w", err)
	}
	slots, err := parseSlots(content)
	if err == nil {
		// Retention goes by these from now on; a power failure must not bring back
		// older ones, for a process that was killed had not made the name durable.
		err = datadir.SyncDir(fs, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("load replication slots: %w", err)
	}
	return slots, nil
}

// saveSlots returns the function that makes slots durable in dir.
func saveSlots(fs vfs.FS, dir string) func([]slot) error {
	return func(slots []slot) error {
		return datadir.WriteSealed(fs, dir, slotsFile, formatSlots(slots))
	}
}

func formatSlots(slots []slot) string {
	var b strings.Builder
	b.WriteString(slotsFileVersion + "\n")
	for _, sl := range slots {
		state := "valid"
		if sl.invalidated {
			state = "invalidated"
		}
		fmt.Fprintf(&b, "slot %s %s %s\n", sl.name, sl.restart, state)
	}
	return b.String()
}

func parseSlots(content string) ([]slot, error) {
	lines := strings.Split(strings.TrimSuffix(content, "\n"), "\n")
	if lines[0] != slotsFileVersion {
		return nil, fmt.Errorf("unknown format %q of %s", lines[0], slotsFile)
	}
	var out []slot
	for _, line := range lines[1:] {
		sl, err := parseSlot(line)
		if err != nil {
			return nil, err
		}
		out = append(out, sl)
	}
	return out, nil
}

func parseSlot(line string) (slot, error) {
	f := strings.Fields(line)
	if len(f) != 4 || f[0] != "slot" || checkSlotName(f[1]) != nil || (f[3] != "valid" && f[3] != "invalidated") {
		return slot{}, fmt.Errorf("unexpected line %q in %s", line, slotsFile)
	}
	restart, err := wal.ParseLSN(f[2])
	if err != nil {
		return slot{}, fmt.Errorf("slot %s in %s: %w", f[1], slotsFile, err)
	}
	return slot{name: f[1], restart: restart, invalidated: f[3] == "invalidated"}, nil
}
