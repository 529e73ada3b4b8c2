package pageread

import (
	"context"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
)

// firstNormalXID is the first xid that a transaction can have; those below mark
// what has always been committed (FirstNormalTransactionId).
const firstNormalXID = 3

// Status is how a transaction ended as of a position, 0 if it had not, or if the
// commit log did not reach there. A subtransaction ends with its parent.
func (r *Reader) Status(ctx context.Context, xid uint32, at At) (pagekey.Status, error) {
	if xid < firstNormalXID {
		return pagekey.StatusCommitted, nil
	}
	p, err := r.page(ctx, pagekey.SLRUPage(pagekey.CLOG, uint64(xid/pagekey.CLOGPerPage)), at)
	switch {
	case errors.Is(err, pagestore.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	n := xid % pagekey.CLOGPerPage
	return pagekey.Status(p[n/4] >> (n % 4 * 2) & 3), nil
}

var (
	// ErrNoTransaction says that nothing is known of a transaction's end.
	ErrNoTransaction = errors.New("no transaction of this number has ended, or it did so long ago")
	// ErrAborted says that a transaction did not commit.
	ErrAborted = errors.New("transaction was rolled back")
)

// CommitOf returns the end of the record by which a transaction, or the parent
// of a subtransaction, committed. ErrNoTransaction, ErrAborted; a *CollectedError
// when it was before the oldest readable LSN.
//
// It reads a page of the commit log at a number of LSNs that grows with the
// logarithm of the WAL's length.
func (r *Reader) CommitOf(ctx context.Context, xid uint32) (wal.LSN, error) {
	return r.CommitAfter(ctx, xid, r.Floor())
}

// CommitAfter is CommitOf for a transaction that was running at an LSN.
func (r *Reader) CommitAfter(ctx context.Context, xid uint32, running wal.LSN) (wal.LSN, error) {
	committed := func(lsn wal.LSN) (bool, error) {
		at, err := r.Exactly(ctx, lsn)
		if err != nil {
			return false, err
		}
		s, err := r.Status(ctx, xid, at)
		if s == pagekey.StatusAborted && err == nil {
			err = ErrAborted
		}
		return s == pagekey.StatusCommitted, err
	}
	lo, hi := running, r.Last()
	switch yes, err := committed(hi); {
	case err != nil:
		return 0, fmt.Errorf("transaction %d: %w", xid, err)
	case !yes:
		return 0, fmt.Errorf("transaction %d: %w", xid, ErrNoTransaction)
	}
	switch yes, err := committed(lo); {
	case err != nil:
		return 0, fmt.Errorf("transaction %d: %w", xid, err)
	case yes:
		return 0, fmt.Errorf("transaction %d committed before: %w", xid, &CollectedError{Wanted: lo - 1, Oldest: lo})
	}
	// Not committed at lo, committed at hi.
	for hi-lo > 1 {
		mid := lo + (hi-lo)/2
		yes, err := committed(mid)
		switch {
		case err != nil:
			return 0, fmt.Errorf("transaction %d: %w", xid, err)
		case yes:
			hi = mid
		default:
			lo = mid
		}
	}
	return hi, nil
}
