package pagestore

import (
	"bytes"
	"encoding/binary"
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

// comparer orders layer keys bytewise; filters and prefix compression see the key
// without LSN and ordinal. Its name is part of the format.
func comparer(name string) *sstable.Comparer {
	return (&sstable.Comparer{
		Name:    name,
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
}

// Layers of version 1 have no rows of several entries; they are read only.
var (
	layerComparer   = comparer("walhaven.layer.v2")
	layerComparerV1 = comparer("walhaven.layer.v1")
	layerComparers  = sstable.Comparers{layerComparerV1.Name: layerComparerV1}

	layerSchema   = colblk.DefaultKeySchema(layerComparer, 16)
	layerSchemaV1 = colblk.DefaultKeySchema(layerComparerV1, 16)
	layerSchemas  = sstable.MakeKeySchemas(&layerSchema, &layerSchemaV1)

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
