package redo

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// ErrNewPage is in the chain of an error about a page that redo needs and that
// was never initialised.
var ErrNewPage = errors.New("the page is new")

// ErrTruncated is in the chain of an error about a record that is shorter than
// what it says.
var ErrTruncated = errors.New("record is too short")

var (
	errNoBlock   = errors.New("the record has no such block")
	errNoRedo    = errors.New("no redo is known for this block")
	errUnknownOp = errors.New("unknown operation")
	errBadRecord = errors.New("record contradicts itself")
	errBadPage   = errors.New("page is not the one that the record was made for")
)

// checkRead is the error of having read past the end of a record.
func checkRead(c *walrecord.Cursor) error {
	if c.Bad {
		return ErrTruncated
	}
	return nil
}

// Error says which record could not be applied to which page.
type Error struct {
	RMID  walrecord.RmgrID
	Op    string // as [walrecord.Identify] names it
	Start wal.LSN
	End   wal.LSN
	Rel   walrecord.RelFile
	Fork  walrecord.Fork
	Block uint32
	Err   error
}

func (e *Error) Error() string {
	return fmt.Sprintf("redo of %s/%s at %s (end %s) on block %d of relation %s, fork %s: %v",
		e.RMID, e.Op, e.Start, e.End, e.Block, e.Rel, e.Fork, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
