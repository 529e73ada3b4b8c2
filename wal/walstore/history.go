package walstore

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// maxHistoryFile bounds what is read of a history file.
const maxHistoryFile = 16 << 20

// writeHistories writes the history files of h and of its ancestors; where a
// file has the right content already, only if anew says so, because what a
// crashed process left may not be on disk. The caller owes the folder's fsync;
// only after that a control file may name the history.
func (d *disk) writeHistories(h wal.TimelineHistory, anew bool) error {
	tlis := []wal.TLI{h.Last}
	for _, e := range h.Ancestors {
		tlis = append(tlis, e.TLI)
	}
	for _, tli := range tlis {
		own, ok := h.Upto(tli)
		if !ok || len(own.Ancestors) == 0 {
			continue
		}
		name, content := wal.HistoryFileName(tli), own.Format()
		if old, err := d.readFile(name, maxHistoryFile); !anew && err == nil && bytes.Equal(old, content) {
			continue
		}
		if err := d.writeFile(name, content, pointHistoryWrite, pointHistorySync, pointHistoryRename); err != nil {
			return fmt.Errorf("write timeline history: %w", err)
		}
	}
	return nil
}

// strayHistory says whether name is the history file of a TLI that h lacks.
func strayHistory(h wal.TimelineHistory, name string) bool {
	if !strings.HasSuffix(name, historySuffix) {
		return false
	}
	for _, e := range h.Ancestors {
		if name == wal.HistoryFileName(e.TLI) {
			return false
		}
	}
	return name != wal.HistoryFileName(h.Last)
}
