package pushwal

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// An option block is a counted list of named values, big endian in every
// version: count u8, then per option key NUL, length i32, value. It is the
// layout of Neon's pageserver feedback; our own options have it too. Unknown
// keys are skipped.

// Keys of our options.
const (
	keyInstance      = "instance"
	keyTLI           = "tli"
	keyWalhaven      = "walhaven"
	keyIncarnation   = "incarnation"
	keyJoining       = "joining"
	keyIncarnations  = "incarnations"
	keyNewMembers    = "new_incarnations"
	keyProposed      = "proposed"
	keyProposedTerm  = "proposed_term"
	keyLastRecordLSN = "last_record_lsn"
	keyTLIHistory    = "tli_history"
	keyNodeID        = "node_id"
	keyName          = "name"
	keyStart         = "start_lsn"
)

// incarnationSize is the length of one element of keyIncarnations: node u64,
// incarnation.
const incarnationSize = 8 + len(Incarnation{})

// optionWriter appends an option block; its count is patched as options are
// added.
type optionWriter struct {
	b     []byte
	count int // where the count lies in b
}

func beginOptions(dst []byte) optionWriter {
	return optionWriter{b: append(dst, 0), count: len(dst)}
}

func (w *optionWriter) key(name string, size int) {
	w.b[w.count]++
	w.b = append(append(w.b, name...), 0)
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(size))
}

func (w *optionWriter) bytes(name string, v []byte) {
	w.key(name, len(v))
	w.b = append(w.b, v...)
}

func (w *optionWriter) u8(name string, v uint8) {
	w.key(name, 1)
	w.b = append(w.b, v)
}

func (w *optionWriter) u32(name string, v uint32) {
	w.key(name, 4)
	w.b = binary.BigEndian.AppendUint32(w.b, v)
}

func (w *optionWriter) u64(name string, v uint64) {
	w.key(name, 8)
	w.b = binary.BigEndian.AppendUint64(w.b, v)
}

// option reads the next option of a block.
func (d *decoder) option() (key, value []byte) {
	key = d.cstr()
	if d.short {
		return nil, nil
	}
	size := d.take(4)
	if size == nil {
		return nil, nil
	}
	return key, d.take(int(int32(binary.BigEndian.Uint32(size))))
}

// fixed copies a value of exactly len(dst) bytes.
func fixed(key string, dst, value []byte) error {
	if len(value) != len(dst) {
		return badLength(key, len(value))
	}
	copy(dst, value)
	return nil
}

func u8Value(key string, value []byte, dst *uint8) error {
	if len(value) != 1 {
		return badLength(key, len(value))
	}
	*dst = value[0]
	return nil
}

func u32Value(key string, value []byte, dst *uint32) error {
	if len(value) != 4 {
		return badLength(key, len(value))
	}
	*dst = binary.BigEndian.Uint32(value)
	return nil
}

func u64Value(key string, value []byte, dst *uint64) error {
	if len(value) != 8 {
		return badLength(key, len(value))
	}
	*dst = binary.BigEndian.Uint64(value)
	return nil
}

func badLength(key string, n int) error {
	return fmt.Errorf("option %s has %d bytes: %w", key, n, ErrMalformed)
}

// appendTLIHistory appends a block that holds nothing but h, or nothing when h
// is not set: last u32, then per ancestor TLI u32, switch position u64.
func appendTLIHistory(dst []byte, h wal.TimelineHistory) []byte {
	if h.Last == 0 {
		return dst
	}
	w := beginOptions(dst)
	w.tliHistory(h)
	return w.b
}

func (w *optionWriter) tliHistory(h wal.TimelineHistory) {
	w.key(keyTLIHistory, 4+12*len(h.Ancestors))
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(h.Last))
	for _, a := range h.Ancestors {
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(a.TLI))
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(a.Switch))
	}
}

func (d *decoder) tliHistory(h *wal.TimelineHistory) error {
	for n := d.u8(); n > 0 && !d.short; n-- {
		key, value := d.option()
		if string(key) != keyTLIHistory || d.short {
			continue
		}
		if err := parseTLIHistory(value, h); err != nil {
			return err
		}
	}
	return nil
}

func parseTLIHistory(value []byte, h *wal.TimelineHistory) error {
	if len(value) < 4 || (len(value)-4)%12 != 0 {
		return badLength(keyTLIHistory, len(value))
	}
	*h = wal.TimelineHistory{Last: wal.TLI(binary.BigEndian.Uint32(value))}
	if value = value[4:]; len(value) > 0 {
		h.Ancestors = make([]wal.HistoryEntry, 0, len(value)/12)
	}
	for ; len(value) > 0; value = value[12:] {
		h.Ancestors = append(h.Ancestors, wal.HistoryEntry{
			TLI:    wal.TLI(binary.BigEndian.Uint32(value)),
			Switch: wal.LSN(binary.BigEndian.Uint64(value[4:])),
		})
	}
	if !h.Valid() {
		return fmt.Errorf("option %s is no timeline history: %w", keyTLIHistory, ErrMalformed)
	}
	return nil
}
