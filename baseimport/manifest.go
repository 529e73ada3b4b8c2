package baseimport

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// Label is what an import needs of backup_label.
type Label struct {
	Start wal.LSN // redo begins here
	TLI   wal.TLI
}

// ParseLabel reads backup_label (src/backend/access/transam/xlogbackup.c).
func ParseLabel(content []byte) (Label, error) {
	var l Label
	for line := range bytes.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ": ")
		var err error
		switch key {
		case "START WAL LOCATION":
			text, _, _ := strings.Cut(value, " ")
			l.Start, err = wal.ParseLSN(text)
		case "START TIMELINE":
			_, err = fmt.Sscanf(value, "%d", &l.TLI)
		case "INCREMENTAL FROM LSN":
			err = errors.New("it is an incremental backup; combine it first, by pg_combinebackup")
		}
		if err != nil {
			return l, fmt.Errorf("backup_label, %s: %w", key, err)
		}
	}
	if l.Start == 0 || l.TLI == 0 {
		return l, errors.New("backup_label lacks the start of the backup")
	}
	return l, nil
}

// ManifestEnd reads from a backup_manifest where the backup ends.
func ManifestEnd(content []byte) (wal.LSN, wal.TLI, error) {
	var m struct {
		Ranges []struct {
			Timeline wal.TLI `json:"Timeline"`
			End      string  `json:"End-LSN"`
		} `json:"WAL-Ranges"`
	}
	if err := json.Unmarshal(content, &m); err != nil {
		return 0, 0, fmt.Errorf("backup_manifest: %w", err)
	}
	if len(m.Ranges) != 1 {
		return 0, 0, fmt.Errorf("backup_manifest names %d ranges of WAL; a backup that stays on one timeline has one", len(m.Ranges))
	}
	end, err := wal.ParseLSN(m.Ranges[0].End)
	if err != nil {
		return 0, 0, fmt.Errorf("backup_manifest: %w", err)
	}
	return end, m.Ranges[0].Timeline, nil
}
