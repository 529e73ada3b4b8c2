package page

import (
	"errors"
	"fmt"
)

// Errors of operations that a page has no room or no place for. They mean that
// the page is not the one that the change was made for.
var (
	ErrNoSpace  = errors.New("no space on the page")
	ErrOffset   = errors.New("line pointer out of range")
	ErrPointer  = errors.New("line pointer to outside the tuples")
	ErrUsed     = errors.New("line pointer is in use")
	ErrItemSize = errors.New("size of the item is wrong")
)

// CorruptError is a header that contradicts itself.
type CorruptError struct{ Lower, Upper, Special int }

func (e *CorruptError) Error() string {
	return fmt.Sprintf("page is corrupt: lower %d, upper %d, special %d", e.Lower, e.Upper, e.Special)
}
