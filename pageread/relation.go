package pageread

import (
	"context"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// zeroPage is every page that lies within no value.
var zeroPage page.Page

// Page returns a block of a relation. A block that was never written, or lies
// beyond the relation's end, is a page of zeroes. The page is shared and must not
// be written to. ErrNoRelation when the fork does not exist.
func (r *Reader) Page(ctx context.Context, rel walrecord.RelFile, fork walrecord.Fork, block uint32, at At) (*page.Page, error) {
	p, err := r.page(ctx, pagekey.Block(rel, fork, block), at)
	if !errors.Is(err, pagestore.ErrNotFound) {
		return p, err
	}
	if _, err := r.Size(ctx, rel, fork, at); err != nil {
		return nil, err
	}
	return &zeroPage, nil
}

// Cached returns the page if it can be had at once, and nil otherwise.
func (r *Reader) Cached(rel walrecord.RelFile, fork walrecord.Fork, block uint32, at At) *page.Page {
	k := cacheKey{timeline: r.id, key: pagekey.Block(rel, fork, block)}
	p := r.o.Cache.lookup(&k, at.LSN, at.unchanged)
	if p != nil {
		r.o.Metrics.hits.Inc()
	}
	return p
}

// Size returns the length of a fork in blocks; ErrNoRelation when it does not
// exist.
func (r *Reader) Size(ctx context.Context, rel walrecord.RelFile, fork walrecord.Fork, at At) (uint32, error) {
	n, err := r.size(ctx, pagekey.RelationSize(rel, fork), at)
	if errors.Is(err, pagestore.ErrNotFound) {
		return 0, fmt.Errorf("%w: %s fork %s at %s", ErrNoRelation, rel, fork, at.LSN)
	}
	return n, err
}

// Exists says whether a fork exists.
func (r *Reader) Exists(ctx context.Context, rel walrecord.RelFile, fork walrecord.Fork, at At) (bool, error) {
	_, err := r.Size(ctx, rel, fork, at)
	if errors.Is(err, ErrNoRelation) {
		return false, nil
	}
	return err == nil, err
}

// size reads the value of a size's key.
func (r *Reader) size(ctx context.Context, key pagestore.Key, at At) (uint32, error) {
	m := r.makers.Get().(*maker)
	defer r.makers.Put(m)
	if err := r.o.Timeline.Get(ctx, key, at.LSN, &m.value); err != nil {
		return 0, r.storeError(at.LSN, err)
	}
	n, err := pagekey.ParseSize(m.value.Image)
	if err != nil {
		return 0, fmt.Errorf("size %s at %s: %w", key, at.LSN, err)
	}
	return n, nil
}

// Relation is a fork and its size.
type Relation struct {
	Rel    walrecord.RelFile
	Fork   walrecord.Fork
	Blocks uint32
}

// Relations calls f with each fork of the relations in ranges of sizes such as
// [pagekey.Relations], in order, until it returns an error.
func (r *Reader) Relations(ctx context.Context, keys pagestore.KeyRange, at At, f func(Relation) error) error {
	err := r.o.Timeline.Scan(ctx, keys, at.LSN, pagestore.ScanOptions{}, func(key pagestore.Key, v *pagestore.Value) (bool, error) {
		ref, err := pagekey.Parse(key)
		if err != nil {
			return false, err
		}
		n, err := pagekey.ParseSize(v.Image)
		if err != nil {
			return false, fmt.Errorf("size %s: %w", key, err)
		}
		return true, f(Relation{Rel: ref.Rel, Fork: ref.Fork, Blocks: n})
	})
	if err != nil {
		return fmt.Errorf("list relations at %s: %w", at.LSN, r.storeError(at.LSN, err))
	}
	return nil
}

// defaultTablespace is pg_default.
const defaultTablespace = 1663

// DatabaseSize is the size in bytes of all forks of a database's relations in
// the default tablespace; 0 for a database that does not exist.
func (r *Reader) DatabaseSize(ctx context.Context, db uint32, at At) (int64, error) {
	var blocks int64
	err := r.Relations(ctx, pagekey.RelationsOf(defaultTablespace, db), at, func(rel Relation) error {
		blocks += int64(rel.Blocks)
		return nil
	})
	return blocks * page.Size, err
}

// SLRUSegment appends the pages of a segment to dst, a whole number of them and
// at most pagekey.SLRUSegmentPages. ErrNoSegment when there is no such segment.
func (r *Reader) SLRUSegment(ctx context.Context, slru pagekey.SLRU, segment uint32, at At, dst []byte) ([]byte, error) {
	n, err := r.size(ctx, pagekey.SLRUSegment(slru, segment), at)
	switch {
	case errors.Is(err, pagestore.ErrNotFound):
		return dst, fmt.Errorf("%w: %s/%04X at %s", ErrNoSegment, slru.Dir(), segment, at.LSN)
	case err != nil:
		return dst, err
	case n > pagekey.SLRUSegmentPages:
		return dst, fmt.Errorf("SLRU segment %s/%04X at %s has %d pages", slru.Dir(), segment, at.LSN, n)
	}
	for i := range n {
		p, err := r.page(ctx, pagekey.SLRUPage(slru, uint64(segment)*pagekey.SLRUSegmentPages+uint64(i)), at)
		switch {
		case errors.Is(err, pagestore.ErrNotFound):
			p = &zeroPage
		case err != nil:
			return dst, err
		}
		dst = append(dst, p[:]...)
	}
	return dst, nil
}

// SLRUSegments calls f with each segment of an SLRU and its pages.
func (r *Reader) SLRUSegments(ctx context.Context, slru pagekey.SLRU, at At, f func(segment, pages uint32) error) error {
	err := r.o.Timeline.Scan(ctx, pagekey.SLRUSegments(slru), at.LSN, pagestore.ScanOptions{}, func(key pagestore.Key, v *pagestore.Value) (bool, error) {
		ref, err := pagekey.Parse(key)
		if err != nil {
			return false, err
		}
		n, err := pagekey.ParseSize(v.Image)
		if err != nil {
			return false, fmt.Errorf("size %s: %w", key, err)
		}
		return true, f(ref.Segment, n)
	})
	if err != nil {
		return fmt.Errorf("list segments of %s at %s: %w", slru.Dir(), at.LSN, r.storeError(at.LSN, err))
	}
	return nil
}
