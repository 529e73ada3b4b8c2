package protocol

import (
	"errors"
	"syscall"
)

// isReset says that the peer's side of the connection is gone.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
