package pagestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// MaterializeFunc makes the image of key as of lsn from what the store holds.
// The answer is used before the next call. [ErrNoImage] keeps the deltas; other
// errors do too and are counted and logged.
type MaterializeFunc func(ctx context.Context, key Key, lsn wal.LSN, v *Value) ([]byte, error)

// Compression of blocks in layer files.
type Compression uint8

// The kinds of compression; the zero value means the default of the option.
const (
	CompressionDefault Compression = iota
	CompressionNone
	CompressionMinLZ
	CompressionZstd
)

// Options are all limits and collaborators of a store. Zero values mean the
// defaults named here.
type Options struct {
	FS      vfs.FS       // vfs.Default
	Logger  *slog.Logger // discards
	Metrics *Metrics     // not registered
	// Now is the clock for expiring pins; time.Now.
	Now func() time.Time
	// Materialize makes images on top of long chains; nil makes none.
	Materialize MaterializeFunc
	// Generation of this writer: a lower one than the stored is refused, a
	// higher one fences the former writer. 0 takes the stored one plus one.
	Generation uint32

	// MemLayerSize is the size in bytes at which an in-memory layer is frozen
	// and flushed (64 MiB). A batch takes at most as much, or what one value may
	// take; a timeline that is put into at most MaxFrozen+1 times as much, and one
	// batch.
	MemLayerSize int64
	MaxFrozen    int // frozen layers waiting for their flush before Put waits (2)
	// MemTotal is the size in bytes of the in-memory layers of all timelines at
	// which whoever puts flushes its own first (what three timelines may take).
	MemTotal     int64
	MaxValueSize int // bytes (16 MiB)
	// FlushInterval is how long a put may stay in memory only while Run runs
	// (30 s).
	FlushInterval time.Duration
	FlushWriters  int // layer files written in parallel by one flush (GOMAXPROCS, at most 4)

	CacheSize     int64 // bytes of uncompressed blocks kept for all layers (128 MiB)
	MaxOpenLayers int   // layer files kept open (512)
	LayerSize     int64 // bytes at which a compaction begins the next layer file (128 MiB)
	BlockSize     int   // bytes of an uncompressed block (16 KiB)

	FlushCompression   Compression // of flushed layers (MinLZ)
	CompactCompression Compression // of merged layers (zstd, where it gains by that)

	CompactRuns int // runs at which compaction begins (8)
	// MaxChainSize is the size in bytes of the deltas above the newest image, each
	// with what it takes to read it, at which an image is put on top of them, and in a
	// compaction within them (256 KiB).
	MaxChainSize int
	// MaxChain is the number of deltas above the newest image at which a
	// compaction makes an image of a key (32).
	MaxChain int
	// GarbagePercent of what would stay, in what would go, makes garbage collection
	// write a run anew. For the oldest one, newer runs below the cutoff count as what
	// would go, and are merged with it (50).
	GarbagePercent int
}

// maxBatch is how many bytes a batch may take.
func (o *Options) maxBatch() int64 {
	return max(o.MemLayerSize, int64(o.MaxValueSize)+entryOverhead)
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	setDefault(&o.MemLayerSize, 64<<20)
	setDefault(&o.MaxFrozen, 2)
	setDefault(&o.MemTotal, 3*int64(o.MaxFrozen+1)*o.MemLayerSize)
	setDefault(&o.MaxValueSize, 16<<20)
	setDefault(&o.FlushInterval, 30*time.Second)
	setDefault(&o.FlushWriters, min(runtime.GOMAXPROCS(0), 4))
	setDefault(&o.CacheSize, 128<<20)
	setDefault(&o.MaxOpenLayers, 512)
	setDefault(&o.LayerSize, 128<<20)
	setDefault(&o.BlockSize, 16<<10)
	setDefault(&o.FlushCompression, CompressionMinLZ)
	setDefault(&o.CompactCompression, CompressionZstd)
	setDefault(&o.CompactRuns, 8)
	setDefault(&o.MaxChainSize, 256<<10)
	setDefault(&o.MaxChain, 32)
	setDefault(&o.GarbagePercent, 50)
	return o, o.validate()
}

func (o *Options) validate() error {
	for _, limit := range []struct {
		name  string
		value int64
		least int64
	}{
		{"MemLayerSize", o.MemLayerSize, 1 << 10},
		{"MaxFrozen", int64(o.MaxFrozen), 1},
		{"MemTotal", o.MemTotal, 1 << 10},
		{"MaxValueSize", int64(o.MaxValueSize), 1},
		{"FlushInterval", int64(o.FlushInterval), 1},
		{"FlushWriters", int64(o.FlushWriters), 1},
		{"CacheSize", o.CacheSize, 1},
		{"MaxOpenLayers", int64(o.MaxOpenLayers), 1},
		{"LayerSize", o.LayerSize, 1 << 10},
		{"BlockSize", int64(o.BlockSize), 1 << 9},
		{"CompactRuns", int64(o.CompactRuns), 2},
		{"MaxChainSize", int64(o.MaxChainSize), 1},
		{"MaxChain", int64(o.MaxChain), 1},
		{"GarbagePercent", int64(o.GarbagePercent), 1},
	} {
		if limit.value < limit.least {
			return fmt.Errorf("%s is %d, less than %d", limit.name, limit.value, limit.least)
		}
	}
	if o.FlushCompression > CompressionZstd || o.CompactCompression > CompressionZstd {
		return errors.New("unknown compression")
	}
	if o.MaxChainSize > 1<<30 {
		return fmt.Errorf("MaxChainSize is %d, more than 1 GiB", o.MaxChainSize)
	}
	if o.MaxValueSize > 1<<30 {
		return fmt.Errorf("MaxValueSize is %d, more than 1 GiB", o.MaxValueSize)
	}
	return nil
}
