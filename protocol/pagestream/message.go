package pagestream

import (
	"errors"

	"github.com/walhaven/walhaven/wal"
)

// Version of the messages.
type Version int

// Versions that exist. Version3 adds a number to each request and echoes the
// request in each response.
const (
	Version2 Version = 2
	Version3 Version = 3
)

// Valid says whether the version exists.
func (v Version) Valid() bool { return v == Version2 || v == Version3 }

// Kind of a request; its response's tag is Kind plus 100.
type Kind uint8

// Kinds of requests.
const (
	Exists         Kind = 0 // does the fork exist
	Nblocks        Kind = 1 // blocks of the fork
	GetPage        Kind = 2
	DBSize         Kind = 3 // bytes of a database's relations in the default tablespace
	GetSlruSegment Kind = 4
)

// responseTag is the distance between a kind and its response's tag, and
// errorTag the tag of a failure.
const (
	responseTag = 100
	errorTag    = 103
)

// tag is the first byte of a response. Numbers are contiguous except that the
// error sits between those of GetPage and DBSize.
func (k Kind) tag() byte {
	if k >= DBSize {
		return responseTag + byte(k) + 1
	}
	return responseTag + byte(k)
}

func (k Kind) String() string {
	switch k {
	case Exists:
		return "exists"
	case Nblocks:
		return "nblocks"
	case GetPage:
		return "get_page"
	case DBSize:
		return "db_size"
	case GetSlruSegment:
		return "get_slru_segment"
	}
	return "unknown"
}

// Latest as a request's LSN asks for the newest version.
const Latest = wal.LSN(0xffffffffffffffff)

// SLRUs of GetSlruSegment.
const (
	SlruClog             = 0
	SlruMultixactMembers = 1
	SlruMultixactOffsets = 2
)

// Sizes of answers in bytes and blocks.
const (
	PageSize         = 8192
	MaxSegmentBlocks = 32
)

// Request is one request. Fields that its kind does not have are zero.
type Request struct {
	Kind             Kind
	ID               uint64  // version 3: the client's number of the request
	LSN              wal.LSN // version wanted, or Latest
	NotModifiedSince wal.LSN // the client's word that nothing changed in (NotModifiedSince, LSN]

	Tablespace, Database, Relation uint32 // Exists, Nblocks, GetPage; DBSize: Database
	Fork                           uint8
	Block                          uint32 // GetPage

	SLRU    uint8 // GetSlruSegment
	Segment uint32
}

// Response answers Request, which version 3 echoes: whole, but in an error only
// its ID and LSNs. After DecodeResponse of version 2 only Request.Kind is known,
// and of an error not even that.
type Response struct {
	Request Request
	Failure string // an error's message; "" is success

	Exists bool
	Blocks uint32
	Bytes  int64
	Pages  []byte // GetPage: a page; GetSlruSegment: whole pages
}

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed message")
