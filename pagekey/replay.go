package pagekey

import (
	"context"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Replayer makes pages of images and changes. Its memory is reused: it
// allocates nothing in the common case. The zero value is ready; one goroutine
// uses it at a time.
type Replayer struct {
	rec walrecord.Record
}

// Page makes p the page that v holds: its image, or zeroes without one, after
// all changes. Key must be of class block or SLRU page.
//
// An error names what could not be applied: damage, or a record of a resource
// manager that only an extension knows. p is then of no use.
func (r *Replayer) Page(key pagestore.Key, v *pagestore.Value, p *page.Page) error {
	if v.Image == nil {
		*p = page.Page{}
	} else if err := ParsePage(v.Image, p); err != nil {
		return fmt.Errorf("page %s at %s: %w", key, v.ImageLSN, err)
	}
	for i := range v.Deltas {
		d := &v.Deltas[i]
		if err := r.Apply(p, d.Record, d.LSN); err != nil {
			return fmt.Errorf("page %s at %s: %w", key, d.LSN, err)
		}
	}
	return nil
}

// Apply brings p to its state after a change whose entry has the LSN end.
func (r *Replayer) Apply(p *page.Page, delta []byte, end wal.LSN) error {
	if len(delta) > 0 && delta[0] != deltaRecord {
		return applySpecial(p, delta)
	}
	index, o, ok, err := DecodeRecord(delta, end, &r.rec)
	switch {
	case !ok:
		return errValue
	case err != nil:
		return err
	case r.rec.RMID >= firstCustomRmgr:
		return &CustomError{RMID: r.rec.RMID, Start: r.rec.Start}
	}
	return redo.Apply(p, &r.rec, index, o)
}

const firstCustomRmgr = 128

// CustomError says that a page cannot be made because a record of a resource
// manager of an extension changed it, and no image of the page followed yet.
type CustomError struct {
	RMID  walrecord.RmgrID
	Start wal.LSN
}

func (e *CustomError) Error() string {
	return fmt.Sprintf("record at %s belongs to the custom resource manager %d, whose changes only its extension can apply",
		e.Start, e.RMID)
}

// Materialize is a [pagestore.MaterializeFunc]: it makes the image of a page's
// key. Pages that cannot be made keep their changes.
func Materialize(_ context.Context, key pagestore.Key, _ wal.LSN, v *pagestore.Value) ([]byte, error) {
	var (
		r Replayer
		p page.Page
	)
	switch Class(key[0]) {
	case ClassBlock, ClassSLRUPage:
	default:
		return nil, pagestore.ErrNoImage
	}
	if err := r.Page(key, v, &p); err != nil {
		if errors.Is(err, redo.ErrNewPage) || errors.As(err, new(*CustomError)) {
			return nil, pagestore.ErrNoImage
		}
		return nil, err
	}
	return appendCauseOf(AppendPage(nil, &p), v), nil
}
