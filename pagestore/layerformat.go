package pagestore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"

	"github.com/walhaven/walhaven/wal"
)

// A layer is a table in Pebble's format v6 (columnar blocks, CRC-32C on each
// block and on the footer). Layout of its keys: docs/format/layer.md.
const (
	tableFormat  = sstable.TableFormatPebblev6
	layerKeySize = KeySize + 8 + 2 // key, inverted LSN, inverted ordinal
	bloomBits    = 10
)

// layerComparer orders layer keys bytewise; filters and prefix compression see
// the key without LSN and ordinal. Its name is part of the format.
var layerComparer = (&sstable.Comparer{
	Name:    "walhaven.layer.v1",
	Compare: bytes.Compare,
	Equal:   bytes.Equal,
	Split:   func(k []byte) int { return min(KeySize, len(k)) },
	AbbreviatedKey: func(k []byte) uint64 {
		var b [8]byte
		copy(b[:], k)
		return binary.BigEndian.Uint64(b[:])
	},
	Separator:            func(dst, a, _ []byte) []byte { return append(dst, a...) },
	Successor:            func(dst, a []byte) []byte { return append(dst, a...) },
	ImmediateSuccessor:   func(dst, a []byte) []byte { return append(append(dst, a...), 0) },
	CompareRangeSuffixes: bytes.Compare,
	ComparePointSuffixes: bytes.Compare,
}).EnsureDefaults()

var (
	layerSchema  = colblk.DefaultKeySchema(layerComparer, 16)
	layerSchemas = sstable.MakeKeySchemas(&layerSchema)
	layerFilter  = bloom.FilterPolicy(bloomBits)
	layerFilters = map[string]sstable.FilterPolicy{layerFilter.Name(): layerFilter}
)

func (c Compression) profile() *sstable.CompressionProfile {
	switch c {
	case CompressionNone:
		return sstable.NoCompression
	case CompressionZstd:
		return sstable.BalancedCompression // Level 1, and MinLZ where that is hardly worse.
	default:
		return sstable.MinLZCompression
	}
}

// appendLayerKey encodes the place of an entry: newest first under one key.
func appendLayerKey(dst []byte, key Key, lsn wal.LSN, ord uint16) []byte {
	dst = append(dst, key[:]...)
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(lsn))
	return binary.BigEndian.AppendUint16(dst, ^ord)
}

// searchKey is where the entries of key at or below lsn begin.
func searchKey(dst []byte, key Key, lsn wal.LSN) []byte {
	return appendLayerKey(dst, key, lsn, math.MaxUint16)
}

// decodeEntry reads what a layer stores; the item's stored bytes are the table's.
func decodeEntry(k, value []byte, it *item) error {
	if len(k) != layerKeySize || len(value) == 0 {
		return fmt.Errorf("entry with a key of %d and a value of %d bytes", len(k), len(value))
	}
	it.key = Key(k[:KeySize])
	it.lsn = wal.LSN(^binary.BigEndian.Uint64(k[KeySize:]))
	it.ord = ^binary.BigEndian.Uint16(k[KeySize+8:])
	it.kind, it.stored = Kind(value[0]), value
	if it.kind < Image || it.kind > Tombstone {
		return fmt.Errorf("entry of %s", it.kind)
	}
	return nil
}
