package alloctest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is a test that may fail without failing.
type recorder struct {
	testing.TB
	failed bool
}

func (*recorder) Helper()                 {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

var sink []byte

func TestAllocationsAreNoticed(t *testing.T) {
	for _, c := range []struct {
		limit float64
		each  int
		fails bool
	}{{0, 0, false}, {0, 1, true}, {2, 2, false}, {2, 3, true}} {
		r, calls := &recorder{TB: t}, 0
		AtMost(r, c.limit, 10, func() {
			calls++
			for range c.each {
				sink = make([]byte, 100)
			}
		})
		require.Equal(t, c.fails && !race, r.failed, "%+v", c)
		require.Positive(t, calls)
	}
	r := &recorder{TB: t}
	None(r, 10, func() { sink = make([]byte, 100) })
	require.Equal(t, !race, r.failed)
}
