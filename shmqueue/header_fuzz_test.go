package shmqueue

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzHeader: whatever the header says, what is accepted lies inside the memory.
func FuzzHeader(f *testing.F) {
	for _, size := range []int{MinSize, 1 << 20} {
		l := layoutOf(size)
		h := header{
			version: version, offset: uint32(l.data), generation: 7, size: uint64(size), blockSize: BlockSize, slots: MaxSlots,
			start: 12345, clock: -1,
		}
		p := make([]byte, headerSize)
		h.encode(p)
		f.Add(p, l.total, true)
	}
	f.Add([]byte("short"), int64(4096), false)
	f.Fuzz(func(t *testing.T, p []byte, memory int64, seal bool) {
		if seal && len(p) >= headerSize { // so that it gets beyond the checksum
			q := append([]byte(nil), p...)
			h := header{version: version}
			h.encode(q[:headerSize])
			copy(q[12:60], p[12:60])
			binary.NativeEndian.PutUint32(q[60:], Checksum(q[:60]))
			p = q
		}
		var h header
		if h.decode(p, memory) != nil {
			return
		}
		require.LessOrEqual(t, int64(h.offset)+int64(h.size), memory)
		require.GreaterOrEqual(t, int(h.offset), blocksOffset+int(h.size/BlockSize)*64)
		var again [headerSize]byte
		h.encode(again[:])
		require.Equal(t, p[:56], again[:56])
	})
}
