package safekeeper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/wal"
)

const (
	slotsFile        = "walhaven.slots"
	slotsFileVersion = "version 2"
	slotsFileBefore  = "version 1" // without slot IDs
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
		if sl.dropped {
			fmt.Fprintf(&b, "dropped %s\n", formatSlotID(sl.id))
			continue
		}
		state := "valid"
		if sl.invalidated {
			state = "invalidated"
		}
		fmt.Fprintf(&b, "slot %s %s %s %s\n", sl.name, sl.restart, state, formatSlotID(sl.id))
	}
	return b.String()
}

func parseSlots(content string) ([]slot, error) {
	lines := strings.Split(strings.TrimSuffix(content, "\n"), "\n")
	if lines[0] != slotsFileVersion && lines[0] != slotsFileBefore {
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
	unexpected := func() (slot, error) { return slot{}, fmt.Errorf("unexpected line %q in %s", line, slotsFile) }
	if len(f) == 2 && f[0] == "dropped" {
		id, err := strconv.ParseUint(f[1], 16, 64)
		if err != nil {
			return unexpected()
		}
		return slot{id: id, dropped: true}, nil
	}
	if len(f) == 4 {
		f = append(f, "0") // of version 1
	}
	if len(f) != 5 || f[0] != "slot" || checkSlotName(f[1]) != nil || (f[3] != "valid" && f[3] != "invalidated") {
		return unexpected()
	}
	restart, err := wal.ParseLSN(f[2])
	if err != nil {
		return slot{}, fmt.Errorf("slot %s in %s: %w", f[1], slotsFile, err)
	}
	id, err := strconv.ParseUint(f[4], 16, 64)
	if err != nil {
		return unexpected()
	}
	return slot{name: f[1], id: id, restart: restart, invalidated: f[3] == "invalidated"}, nil
}
