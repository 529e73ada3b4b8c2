package baseimport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/walhaven/walhaven/wal"
)

// Messages of the command IMPORT: each the payload of one CopyData, its kind in
// the first byte, numbers big-endian.
//
//	n  oid u32, location   an archive begins: 0 is the data directory's
//	d  bytes               of that archive
//	e  stop LSN u64, TLI u32   the backup is complete; nothing follows
const (
	messageArchive = 'n'
	messageData    = 'd'
	messageEnd     = 'e'
)

// MaxData is how many bytes of an archive one message takes at most.
const MaxData = 256 << 10

// ErrMessage is wrapped by errors about messages that are not as they should be.
var ErrMessage = errors.New("malformed message of an import")

// ErrIncomplete says that a stream ended before its backup did.
var ErrIncomplete = errors.New("the import ended before it was complete")

// End is how an import's stream ends.
type End struct {
	Stop wal.LSN // the backup is consistent from here on
	TLI  wal.TLI
}

// AppendArchive adds the message that begins an archive.
func AppendArchive(dst []byte, oid uint32, location string) []byte {
	return append(binary.BigEndian.AppendUint32(append(dst, messageArchive), oid), location...)
}

// DataHead begins the message of a run of bytes.
var DataHead = []byte{messageData}

// AppendEnd adds the message that completes a backup.
func AppendEnd(dst []byte, e End) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, messageEnd), uint64(e.Stop))
	return binary.BigEndian.AppendUint32(dst, uint32(e.TLI))
}

// Receiver gives out the messages of a backup that come in a stream.
type Receiver struct {
	receive func() ([]byte, error)
	rest    []byte // of the last data message
	next    []byte // message that ended an archive
}

// NewReceiver reads messages by receive, whose answers are valid until its next
// call.
func NewReceiver(receive func() ([]byte, error)) *Receiver { return &Receiver{receive: receive} }

// Next returns the next archive, which has to be read to its end with Read, or
// the end of the backup.
func (r *Receiver) Next() (oid uint32, location string, end *End, err error) {
	m := r.next
	r.next = nil
	if m == nil {
		if m, err = r.receive(); errors.Is(err, io.EOF) {
			return 0, "", nil, ErrIncomplete
		} else if err != nil {
			return 0, "", nil, err
		}
	}
	switch {
	case len(m) >= 5 && len(m) <= 5+maxLocation && m[0] == messageArchive && !bytes.ContainsRune(m[5:], 0):
		return binary.BigEndian.Uint32(m[1:]), string(m[5:]), nil, nil
	case len(m) == 13 && m[0] == messageEnd:
		return 0, "", &End{Stop: wal.LSN(binary.BigEndian.Uint64(m[1:])), TLI: wal.TLI(binary.BigEndian.Uint32(m[9:]))}, nil
	case len(m) == 0:
		return 0, "", nil, fmt.Errorf("%w: it is empty", ErrMessage)
	}
	return 0, "", nil, fmt.Errorf("%w: kind %q, %d bytes", ErrMessage, m[0], len(m))
}

// maxLocation bounds the path of a tablespace (MAXPGPATH).
const maxLocation = 1024

// Read implements io.Reader for the archive that Next began.
func (r *Receiver) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.next != nil {
			return 0, io.EOF
		}
		m, err := r.receive()
		switch {
		case errors.Is(err, io.EOF):
			return 0, ErrIncomplete
		case err != nil:
			return 0, err
		case len(m) > 0 && m[0] == messageData:
			r.rest = m[1:]
		default:
			r.next = append(make([]byte, 0, len(m)), m...)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
