package pgdata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// ParseLabel returns where recovery from a base backup begins, from the content
// of its backup_label.
func ParseLabel(b []byte) (wal.LSN, error) {
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "START WAL LOCATION: ")
		if !ok {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		at, err := wal.ParseLSN(text)
		if err != nil {
			return 0, fmt.Errorf("read backup_label: %w", err)
		}
		return at, nil
	}
	return 0, errors.New("read backup_label: it has no START WAL LOCATION")
}

// Of a slot's state file (ReplicationSlotOnDisk in replication/slot.c).
const (
	slotMagic      = 0x1051CA1
	offSlotCRC     = 4
	offSlotVersion = 8
	offSlotLength  = 12
	offSlotData    = 16
	offSlotRestart = offSlotData + 80
)

var errSlot = errors.New("the slot's state file is damaged, or of an unknown version")

// ParseSlot returns a replication slot's restart_lsn, 0 for none, from the
// content of pg_replslot/NAME/state.
func ParseSlot(b []byte) (wal.LSN, error) {
	le := binary.LittleEndian
	if len(b) < offSlotRestart+8 || le.Uint32(b) != slotMagic {
		return 0, errSlot
	}
	n := uint64(le.Uint32(b[offSlotLength:])) + offSlotData
	if n > uint64(len(b)) || n < offSlotRestart+8 ||
		crc32.Checksum(b[offSlotVersion:n], castagnoli) != le.Uint32(b[offSlotCRC:]) {
		return 0, errSlot
	}
	return wal.LSN(le.Uint64(b[offSlotRestart:])), nil
}
