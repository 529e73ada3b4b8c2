package baseimport

import (
	"encoding/json"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

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
