package walstream

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// Kinds of messages, the first byte of each.
const (
	KindXLogData           = 'w' // server: WAL
	KindKeepalive          = 'k' // server
	KindStatusUpdate       = 'r' // client
	KindHotStandbyFeedback = 'h' // client
	KindPageserverFeedback = 'z' // client: Neon's and ours
)

// MaxData is the most WAL that one XLogData of ours carries, as PostgreSQL's
// (MAX_SEND_SIZE).
const MaxData = 16 * wal.BlockSize

// Lengths of messages in bytes; of XLogData and PageserverFeedback the header.
const (
	XLogDataHeaderSize           = 25
	KeepaliveSize                = 18
	StatusUpdateSize             = 34
	HotStandbyFeedbackSize       = 25
	PageserverFeedbackHeaderSize = 9
)

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed message")

// Kind returns the kind of the message in src, 0 when src is empty.
func Kind(src []byte) byte {
	if len(src) == 0 {
		return 0
	}
	return src[0]
}

// check refuses a message of another kind or length.
func check(src []byte, kind byte, size int, exact bool, what string) error {
	switch {
	case len(src) < size || exact && len(src) != size:
		return fmt.Errorf("decode %s of %d bytes: %w", what, len(src), ErrMalformed)
	case src[0] != kind:
		return fmt.Errorf("decode %s with tag %q: %w", what, src[0], ErrMalformed)
	}
	return nil
}
