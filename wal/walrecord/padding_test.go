package walrecord

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// PostgreSQL leaves zeros where no checksum looks.
func TestPaddingOfEveryVersionIsZero(t *testing.T) {
	for _, major := range fixtureMajors {
		f := loadFixture(t, fmt.Sprintf("pg%d", major))
		o := fixtureOptions(f, f.start)
		o.ZeroPadding = true
		require.NoError(t, NewScanner(o).Feed(f.start, f.bytes))

		// Behind a record that does not fill its last 8 bytes, it is noticed.
		for i, r := range f.recs {
			last := lastByte(f, i)
			if last+1 == r.end {
				continue
			}
			b := append([]byte{}, f.bytes...)
			b[last+1-f.start] = 1
			s := NewScanner(o)
			err := s.Feed(f.start, b)
			require.True(t, IsPadding(err), "%v", err)
			require.Equal(t, r.start, s.LastRecord())
			require.Equal(t, last+1, s.Position())
			o.ZeroPadding = false
			require.NoError(t, NewScanner(o).Feed(f.start, b))
			break
		}
		o.ZeroPadding = true
		page := f.start + wal.BlockSize
		b := append([]byte{}, f.bytes...)
		b[page+headerPadding-f.start] = 1
		require.True(t, IsPadding(NewScanner(o).Feed(f.start, b)))
	}
}
