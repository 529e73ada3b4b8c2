package redo

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Offsets in HashMetaPageData, which is the contents of block 0.
const (
	offHashMagic     = 0
	offHashVersion   = 4
	offHashTuples    = 8 // f64
	offHashFill      = 16
	offHashSize      = 18
	offHashMapSize   = 20
	offHashMapShift  = 22
	offHashMaxBucket = 24
	offHashHighMask  = 28
	offHashLowMask   = 32
	offHashPhase     = 36 // hashm_ovflpoint
	offHashFirstFree = 40
	offHashMaps      = 44 // their number
	offHashProc      = 48
	offHashSpares    = 52 // u32 a phase of splits
	offHashMap       = 444
	lenHashMeta      = 4544

	hashMaxSpares = (offHashMap - offHashSpares) / 4
	hashMaxMaps   = (lenHashMeta - offHashMap) / 4

	hashMagic    = 0x6440640
	hashVersion  = 4
	hashMapShift = 15                    // log2 of the bits in a bitmap page
	hashMapSize  = 1 << hashMapShift / 8 // bytes
)

// hashMeta is the metapage's contents, lenHashMeta bytes that alias the page.
func hashMeta(p *page.Page) ([]byte, error) {
	meta := p.Contents()
	if len(meta) < lenHashMeta {
		return nil, errBadPage
	}
	return meta[:lenHashMeta], nil
}

// setHashMeta overwrites a field of the metapage with value from a record, nil
// if that was too short.
func setHashMeta(p *page.Page, at int, value []byte) error {
	if value == nil {
		return ErrTruncated
	}
	meta, err := hashMeta(p)
	if err == nil {
		copy(meta[at:], value)
	}
	return err
}

// addHashTuples changes the number of tuples in the index by n.
func addHashTuples(p *page.Page, n int) error {
	meta, err := hashMeta(p)
	if err != nil {
		return err
	}
	tuples := math.Float64frombits(binary.LittleEndian.Uint64(meta[offHashTuples:])) + float64(n)
	binary.LittleEndian.PutUint64(meta[offHashTuples:], math.Float64bits(tuples))
	return nil
}

// addHashBitmap adds a bitmap page to the list of them.
func addHashBitmap(p *page.Page, block uint32) error {
	meta, err := hashMeta(p)
	if err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(meta[offHashMaps:])
	if n >= hashMaxMaps {
		return errBadPage
	}
	binary.LittleEndian.PutUint32(meta[offHashMap+4*n:], block)
	binary.LittleEndian.PutUint32(meta[offHashMaps:], n+1)
	return nil
}

// addHashSpare counts one more overflow page of the present phase of splits.
func addHashSpare(p *page.Page) error {
	meta, err := hashMeta(p)
	if err != nil {
		return err
	}
	phase := binary.LittleEndian.Uint32(meta[offHashPhase:])
	if phase >= hashMaxSpares {
		return errBadPage
	}
	spare := meta[offHashSpares+4*phase:]
	binary.LittleEndian.PutUint32(spare, binary.LittleEndian.Uint32(spare)+1)
	return nil
}

// Bits of xl_hash_split_allocate_page.flags: what the metapage's data holds.
const (
	hashSplitMasks = 0x01
	hashSplitPhase = 0x02
)

// growHashMeta counts the bucket that a split allocates.
func growHashMeta(p *page.Page, bucket uint32, flags uint8, data []byte) error {
	meta, err := hashMeta(p)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(meta[offHashMaxBucket:], bucket)
	r := walrecord.NewCursor(data)
	if flags&hashSplitMasks != 0 {
		low, high := r.U32(), r.U32()
		binary.LittleEndian.PutUint32(meta[offHashLowMask:], low)
		binary.LittleEndian.PutUint32(meta[offHashHighMask:], high)
	}
	if flags&hashSplitPhase != 0 {
		phase, pages := r.U32(), r.U32()
		if phase >= hashMaxSpares {
			return errBadRecord
		}
		binary.LittleEndian.PutUint32(meta[offHashSpares+4*phase:], pages)
		binary.LittleEndian.PutUint32(meta[offHashPhase:], phase)
	}
	return checkRead(&r)
}

// redoHashInitMeta is hash_xlog_init_meta_page (_hash_init_metabuffer).
func redoHashInitMeta(c *ctx, p *page.Page, r walrecord.Cursor) error {
	tuples := math.Float64frombits(r.U64())
	proc, fill := r.U32(), r.U16()
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	none := hashSpecial{prev: invalidBlock, next: invalidBlock, bucket: invalidBlock, flags: hashMetaPage}
	if err := initHash(p, none); err != nil {
		return err
	}
	meta, err := hashMeta(p)
	if err != nil {
		return err
	}
	buckets := hashFirstBuckets(tuples / float64(fill))
	phase := hashPhase(buckets)
	high := uint32(1)<<bits.Len32(buckets) - 1
	binary.LittleEndian.PutUint32(meta[offHashMagic:], hashMagic)
	binary.LittleEndian.PutUint32(meta[offHashVersion:], hashVersion)
	binary.LittleEndian.PutUint16(meta[offHashFill:], fill)
	binary.LittleEndian.PutUint16(meta[offHashSize:], page.Size-page.HeaderSize-lenHashSpecial)
	binary.LittleEndian.PutUint16(meta[offHashMapSize:], hashMapSize)
	binary.LittleEndian.PutUint16(meta[offHashMapShift:], hashMapShift)
	binary.LittleEndian.PutUint32(meta[offHashMaxBucket:], buckets-1)
	binary.LittleEndian.PutUint32(meta[offHashHighMask:], high)
	binary.LittleEndian.PutUint32(meta[offHashLowMask:], high>>1)
	binary.LittleEndian.PutUint32(meta[offHashPhase:], phase)
	binary.LittleEndian.PutUint32(meta[offHashProc:], proc)
	binary.LittleEndian.PutUint32(meta[offHashSpares+4*phase:], 1)
	p.SetLower(page.HeaderSize + lenHashMeta)
	return nil
}

// hashMaxFirstBuckets is the most that an index begins with.
const hashMaxFirstBuckets = 1 << 30

// hashFirstBuckets is the number of buckets that a new index for so many
// buckets' worth of tuples has: 2, or the total of a phase of splits.
func hashFirstBuckets(wanted float64) uint32 {
	switch {
	case wanted >= hashMaxFirstBuckets:
		return hashMaxFirstBuckets
	case wanted > 2:
		return hashBucketsOf(hashPhase(uint32(wanted)))
	}
	return 2 // Also for what is not a number.
}

// Buckets double in groups of splits; from group 10 on each group has four
// phases (HASH_SPLITPOINT_GROUPS_WITH_ONE_PHASE, HASH_SPLITPOINT_PHASE_BITS).
const hashSinglePhases = 10

// hashPhase is the phase of splits in which an index gets its nth bucket, n > 0
// (_hash_spareindex).
func hashPhase(n uint32) uint32 {
	group := uint32(bits.Len32(n - 1))
	if group < hashSinglePhases {
		return group
	}
	return hashSinglePhases + (group-hashSinglePhases)*4 + (n-1)>>(group-3)&3
}

// hashBucketsOf is the number of buckets at the end of a phase
// (_hash_get_totalbuckets).
func hashBucketsOf(phase uint32) uint32 {
	if phase < hashSinglePhases {
		return 1 << phase
	}
	half := uint32(1) << (hashSinglePhases + (phase-hashSinglePhases)/4 - 1)
	return half + half/4*((phase-hashSinglePhases)%4+1)
}
