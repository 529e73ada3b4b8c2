package protocol

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol/admin"
)

// appendRow encodes a DataRow: the library's wants every value in a slice of
// its own.
func appendRow(dst []byte, values []any) ([]byte, error) {
	start := len(dst)
	dst = append(dst, 'D', 0, 0, 0, 0, byte(len(values)>>8), byte(len(values)))
	for _, v := range values {
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		var null bool
		var err error
		if dst, null, err = admin.AppendValue(dst, v); err != nil {
			return dst[:start], fmt.Errorf("encode row: %w", err)
		}
		size := uint32(len(dst) - at - 4)
		if null {
			size = 0xffff_ffff
		}
		putUint32(dst[at:], size)
	}
	putUint32(dst[start+1:], uint32(len(dst)-start-1))
	return dst, nil
}

func putUint32(b []byte, v uint32) {
	_ = b[3]
	b[0], b[1], b[2], b[3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}
