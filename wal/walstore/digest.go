package walstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/walhaven/walhaven/wal"
)

// digestUnit is the distance of the positions at which digests are cut, so that
// two nodes asked for different ranges have digests in common.
const digestUnit = 1 << 20

// maxDigests bounds one answer: 64 GiB of WAL.
const maxDigests = 64 << 10

// Digest is the SHA-256 of a run of WAL bytes.
type Digest struct {
	Range  wal.Range
	SHA256 [32]byte
}

// Digests returns the SHA-256 of the range's bytes, cut at multiples of 1 MiB.
// The range must be stored; ErrGap and ErrRemoved say what is missing.
func (s *Store) Digests(ctx context.Context, r wal.Range) ([]Digest, error) {
	if !r.Valid() {
		return nil, fmt.Errorf("digest WAL %s: the range ends before it starts", r)
	}
	if r.Len()/digestUnit >= maxDigests {
		return nil, fmt.Errorf("digest WAL %s: more than %d digests", r, maxDigests)
	}
	if end := s.Positions().readable(); r.End > end {
		return nil, fmt.Errorf("digest WAL %s, stored up to %s: %w", r, end, ErrGap)
	}
	buf := make([]byte, min(r.Len(), chunkSize))
	var digests []Digest
	for at := r.Start; at < r.End; {
		end := min(r.End, (at/digestUnit+1)*digestUnit)
		d, err := s.digest(ctx, wal.Range{Start: at, End: end}, buf)
		if err != nil {
			return nil, fmt.Errorf("digest WAL: %w", err)
		}
		digests = append(digests, d)
		at = end
	}
	return digests, nil
}

func (s *Store) digest(ctx context.Context, r wal.Range, buf []byte) (Digest, error) {
	sum := sha256.New()
	for at := r.Start; at < r.End; {
		if err := ctx.Err(); err != nil {
			return Digest{}, err
		}
		part := buf[:min(uint64(len(buf)), uint64(r.End-at))]
		n, err := s.ReadAt(part, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return Digest{}, err
		}
		if n == 0 {
			return Digest{}, fmt.Errorf("WAL ends at %s: %w", at, ErrGap)
		}
		sum.Write(part[:n])
		at += wal.LSN(n)
	}
	d := Digest{Range: r}
	sum.Sum(d.SHA256[:0])
	return d, nil
}
