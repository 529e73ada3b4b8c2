package shmqueue

import (
	"context"
	"errors"

	"github.com/walhaven/walhaven/wal"
)

const (
	// MaxFrame is the most bytes that Next hands out at once: what one
	// AppendRequest may carry.
	MaxFrame = 128 << 10
	// BlockSize is the length in bytes of the run that one checksum covers.
	BlockSize = wal.BlockSize
	// MinSize is the smallest ring in bytes.
	MinSize = 4 * BlockSize
	// MaxSlots is the most consumers that one queue serves.
	MaxSlots = 64
)

var (
	// ErrBehindFloor says that bytes asked for were overwritten: the consumer has
	// been cut loose and needs them from elsewhere.
	ErrBehindFloor = errors.New("position is below the floor of the queue")
	// ErrAheadOfHead says that a position above what was ever written was asked
	// for: the consumer belongs to another stream.
	ErrAheadOfHead = errors.New("position is above the head of the queue")
	// ErrRevoked says that the slot was taken from the consumer because it held a
	// pin that the producer could wait for no longer. It has to close.
	ErrRevoked = errors.New("slot of the queue was revoked")
	// ErrClosed says that the producer is gone and everything it wrote was read.
	ErrClosed = errors.New("queue is closed")
	// ErrCorrupt says that bytes in the ring are not those that the producer
	// checksummed.
	ErrCorrupt = errors.New("checksum of the queue does not match")
	// ErrNoSlot says that MaxSlots consumers are registered.
	ErrNoSlot = errors.New("all slots of the queue are taken")
)

// Frame is a run of WAL in the ring.
// Guarantee: Parts[0] followed by Parts[1] are the bytes of Range, and Range
// holds between 1 and MaxFrame bytes.
type Frame struct {
	Range wal.Range
	// Parts alias the ring and are valid until the consumer's next call of Next,
	// Try, Unpin or Close. The second is empty unless the range wraps.
	Parts [2][]byte
	// CRC is the CRC-32C of the bytes, derived from what the producer computed.
	CRC uint32
	// Published is when the first bytes were published, in nanoseconds of this
	// process's clock (Now), whichever process published them.
	Published int64
}

// Intact computes the checksum of the bytes and says whether it is CRC. Whoever
// sends a frame to a receiver that does not check it has to.
func (f *Frame) Intact() bool {
	return checksumMore(Checksum(f.Parts[0]), f.Parts[1]) == f.CRC
}

// SlotID names a consumer's slot; a slot that is handed out again has another
// generation, so that a stale handle is told from a live one.
type SlotID struct {
	Index      uint32
	Generation uint32
}

// Producer is the writing side. Its methods except Release and Close belong to
// one goroutine.
type Producer interface {
	// Head is the first LSN not yet written.
	Head() wal.LSN
	// Floor is the oldest LSN that is still intact.
	Floor() wal.LSN
	// Write appends data at Head and publishes it, in pieces if it is long. It
	// checksums data before copying it, and blocks while there is no space. When
	// it fails, a prefix of data may have been published.
	Write(ctx context.Context, data []byte) error
	// Reserve waits until n bytes, at most MaxFrame and half the ring, fit behind
	// Head, and returns where they will lie: they can be read from a socket
	// straight to there. Nobody sees them before Publish.
	Reserve(ctx context.Context, n int) (parts [2][]byte, err error)
	// Publish checksums and appends the first n bytes of what Reserve returned. The
	// next call is Reserve again, or Write.
	Publish(n int)
	// Release says that bytes below upto may be overwritten. It never goes back;
	// any goroutine may call it.
	Release(upto wal.LSN)
	// Register hands out a consumer slot.
	Register() (Consumer, error)
	// Close ends the queue: a blocked Write returns ErrClosed, consumers get
	// ErrClosed once they have read everything.
	Close()
}

// Consumer is the reading side. It belongs to one goroutine, except that
// Revoked may be watched by any.
type Consumer interface {
	ID() SlotID
	// Head is the first LSN not yet written.
	Head() wal.LSN
	// Floor is the oldest LSN that is still intact.
	Floor() wal.LSN
	// Next waits until there are bytes at from, pins and returns as many as there
	// are, up to limit (0: none) and MaxFrame.
	Next(ctx context.Context, from, limit wal.LSN) (Frame, error)
	// Try is Next without waiting. When there is nothing at from, ok is false and
	// the consumer is armed: Wake will be signalled when there is.
	Try(from, limit wal.LSN) (f Frame, ok bool, err error)
	// Ask arms the consumer as Try does, for who leaves what there is for later. Only
	// what is published after it counts.
	Ask()
	// Wake has a token when the producer published, or closed, after Try found
	// nothing, or Ask. Tokens may be spurious.
	Wake() <-chan struct{}
	// Unpin gives back the frame handed out last.
	Unpin()
	// Revoked is closed when the producer waits for this slot's pin. Whoever
	// writes from the ring has to stop and Close.
	Revoked() <-chan struct{}
	// Close unpins and gives the slot back.
	Close()
}
