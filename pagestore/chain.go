package pagestore

import (
	"context"
	"errors"
	"log/slog"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// deltaOverhead is what a delta costs a reader whatever its size, in bytes.
const deltaOverhead = 128

// deltaWeight is what a delta of that size adds to its chain.
func deltaWeight(size int) uint32 { return deltaOverhead + uint32(size) } //nolint:gosec // At most MaxValueSize.

// coverLong puts an image on top of each chain that has become long in the in-memory
// layer, so that no read has to go through all the changes that a page has had since
// its last image: PostgreSQL makes none while one page is changed again and again
// between checkpoints. A chain of which none can be made is not tried again in this
// layer. The caller holds putMu. An error means that memory does not hold what it
// should.
func (t *Timeline) coverLong(ctx context.Context, mem *memLayer) error {
	// A chain that a batch makes long, ends and makes long again is there twice.
	slices.SortFunc(mem.long, compareMemKeys)
	for _, k := range slices.Compact(mem.long) {
		lsn, ok := mem.top(k)
		if !ok {
			continue
		}
		image, err := t.materialize(ctx, k.Key, lsn, &t.covered)
		if err != nil && ctx.Err() == nil {
			t.noImage(k.Key, lsn, err)
		}
		if image == nil {
			continue
		}
		size, err := mem.cover(k, lsn, image)
		if err != nil {
			return err
		}
		t.s.account(size)
	}
	mem.long = mem.long[:0]
	return nil
}

// noImage counts and tells that no image of the key at lsn was made.
func (t *Timeline) noImage(key Key, lsn wal.LSN, err error) {
	t.s.o.Metrics.images.WithLabelValues("failed").Inc()
	t.s.o.Logger.Warn("image could not be made, its deltas are kept", slog.Any("key", key), slog.Any("lsn", lsn), slog.Any("error", err))
}

// materialize asks the caller for the image of the key at lsn, nil when there is
// none. A caller that cannot make one costs space, not more, and has been told of;
// damage and cancellation are errors, which have not.
func (t *Timeline) materialize(ctx context.Context, key Key, lsn wal.LSN, v *Value) ([]byte, error) {
	o := &t.s.o
	if o.Materialize == nil {
		return nil, nil
	}
	levels, err := t.levels(lsn, false)
	if err != nil {
		return nil, err
	}
	defer levels.release()
	v.reset()
	if err := levels.get(ctx, key, 0, v); err != nil {
		return nil, err
	}
	v.finish()
	image, err := o.Materialize(ctx, key, lsn, v)
	switch {
	case err == nil && image != nil && len(image) <= o.MaxValueSize:
		o.Metrics.images.WithLabelValues("made").Inc()
		return image, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, ErrNoImage):
		o.Metrics.images.WithLabelValues("refused").Inc()
	default:
		t.noImage(key, lsn, err)
	}
	return nil, nil
}
