package oracle

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
)

// Reader gives what a pageread.Reader has at an LSN.
func Reader(t testing.TB, r *pageread.Reader, lsn wal.LSN) Pages {
	t.Helper()
	at, err := r.Exactly(context.Background(), lsn)
	require.NoError(t, err)
	return reader{r, at}
}

type reader struct {
	r  *pageread.Reader
	at pageread.At
}

func (r reader) Forks(ctx context.Context) (map[Fork]uint32, error) {
	forks := map[Fork]uint32{}
	return forks, r.r.Relations(ctx, pagekey.Relations(), r.at, func(rel pageread.Relation) error {
		forks[Fork{rel.Rel, rel.Fork}] = rel.Blocks
		return nil
	})
}

func (r reader) Page(ctx context.Context, f Fork, block uint32) (*page.Page, error) {
	return r.r.Page(ctx, f.Rel, f.Fork, block, r.at)
}

func (r reader) Segments(ctx context.Context, slru pagekey.SLRU) (map[uint32]bool, bool, error) {
	segments := map[uint32]bool{}
	err := r.r.SLRUSegments(ctx, slru, r.at, func(segment, _ uint32) error {
		segments[segment] = true
		return nil
	})
	return segments, true, err
}

func (r reader) Segment(ctx context.Context, slru pagekey.SLRU, segment uint32) ([]byte, error) {
	return r.r.SLRUSegment(ctx, slru, segment, r.at, nil)
}
