package pgdata

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// Label is where a base backup begins.
type Label struct {
	Start wal.LSN // of recovery from it
	TLI   wal.TLI
}

// ParseLabel reads the content of backup_label
// (src/backend/access/transam/xlogbackup.c). pg_rewind's names the timeline by the
// segment alone.
func ParseLabel(content []byte) (Label, error) {
	var l Label
	for line := range bytes.Lines(content) {
		key, value, _ := strings.Cut(strings.TrimSpace(string(line)), ": ")
		var err error
		switch key {
		case "START WAL LOCATION":
			at, segment, _ := strings.Cut(value, " (file ")
			if l.Start, err = wal.ParseLSN(at); err == nil && l.TLI == 0 {
				_, _ = fmt.Sscanf(segment, "%8X", &l.TLI) // Else another line says it.
			}
		case "START TIMELINE":
			_, err = fmt.Sscanf(value, "%d", &l.TLI)
		case "INCREMENTAL FROM LSN":
			err = errors.New("it is an incremental backup; combine it first, by pg_combinebackup")
		}
		if err != nil {
			return Label{}, fmt.Errorf("backup_label, %s: %w", key, err)
		}
	}
	if l.Start == 0 || l.TLI == 0 {
		return Label{}, errors.New("backup_label lacks the start of the backup")
	}
	return l, nil
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
