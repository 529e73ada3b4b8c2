package wal

import (
	"fmt"
	"strconv"
	"strings"
)

// BlockSize is the size of a WAL page in bytes (XLOG_BLCKSZ). walhaven
// supports servers built with the default only.
const BlockSize = 8192

// LSN is a byte position in the WAL of one cluster (XLogRecPtr). Zero means
// "not set".
type LSN uint64

// InvalidLSN is the unset position (InvalidXLogRecPtr).
const InvalidLSN LSN = 0

// ParseLSN reads PostgreSQL's text form: two hexadecimal numbers of one to
// eight digits separated by a slash.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok || !validHexWord(hi) || !validHexWord(lo) {
		return 0, fmt.Errorf("invalid LSN %q: expected two hexadecimal numbers separated by a slash, like 0/16B3748", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("invalid LSN %q: %w", s, err)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("invalid LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

func validHexWord(s string) bool {
	if s == "" || len(s) > 8 {
		return false
	}
	return strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// String returns PostgreSQL's text form, upper case and unpadded (%X/%X).
func (l LSN) String() string {
	b := make([]byte, 0, 17)
	b = appendUpperHex(b, uint64(l>>32))
	b = append(b, '/')
	return string(appendUpperHex(b, uint64(l&0xffffffff)))
}

func appendUpperHex(b []byte, v uint64) []byte {
	at := len(b)
	b = strconv.AppendUint(b, v, 16)
	for i := at; i < len(b); i++ {
		if b[i] >= 'a' {
			b[i] -= 'a' - 'A'
		}
	}
	return b
}

// MarshalText makes an LSN a string in JSON and TOML.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (l *LSN) UnmarshalText(text []byte) error {
	v, err := ParseLSN(string(text))
	if err != nil {
		return err
	}
	*l = v
	return nil
}

// Align8 rounds up to the next multiple of 8, where records start.
func (l LSN) Align8() LSN { return (l + 7) &^ 7 }

// PageStart rounds down to the start of the WAL page that holds l.
func (l LSN) PageStart() LSN { return l &^ (BlockSize - 1) }

// Range is the half-open run of WAL bytes [Start, End).
//
// Guarantee of a valid range: Start <= End.
type Range struct {
	Start, End LSN
}

// Len is the number of bytes in the range.
func (r Range) Len() uint64 { return uint64(r.End - r.Start) }

// Valid says whether the guarantee holds.
func (r Range) Valid() bool { return r.Start <= r.End }

func (r Range) String() string { return r.Start.String() + ".." + r.End.String() }
