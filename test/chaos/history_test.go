package chaos

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// made is a history of known swaps, each by a client of its own.
func made(swaps ...swap) *history {
	h := newHistory()
	for i, s := range swaps {
		s.client = i
		h.swapped(s)
	}
	return h
}

func TestInsertsAreCompared(t *testing.T) {
	h := newHistory()
	h.inserted(1, true)
	h.inserted(2, true)
	h.inserted(3, false)
	require.NoError(t, h.checkInserts([]int64{1, 2}))
	require.NoError(t, h.checkInserts([]int64{3, 2, 1}), "nobody was told of 3: it may be there")
	require.ErrorContains(t, h.checkInserts([]int64{1, 3}), "1 of 2 acknowledged inserts are lost: [0x2]")
	require.ErrorContains(t, h.checkInserts([]int64{1, 1, 2}), "twice")
	require.ErrorContains(t, h.checkInserts([]int64{1, 2, 4}), "never inserted")
}

func TestRegisterIsChecked(t *testing.T) {
	known := func(call, answer time.Duration, old, value int64) swap {
		return swap{call: call, answer: answer, old: old, value: value, known: true}
	}
	unknown := func(call time.Duration, value int64) swap {
		return swap{call: call, answer: math.MaxInt64, value: value}
	}
	for name, h := range map[string]*history{
		"one after the other":                  made(known(1, 2, 0, 10), known(3, 4, 10, 11)),
		"at the same time, in either order":    made(known(1, 5, 11, 10), known(1, 5, 0, 11)),
		"nobody was told, and it happened":     made(unknown(1, 10), known(3, 4, 10, 11)),
		"nobody was told, and it did not":      made(unknown(1, 10), known(3, 4, 0, 11)),
		"nobody was told, and it happens late": made(unknown(1, 10), known(3, 4, 0, 11), known(5, 8, 10, 13)),
	} {
		require.NoError(t, h.checkSwaps(), name)
	}
	for name, h := range map[string]*history{
		"an acknowledged write is lost":            made(known(1, 2, 0, 10), known(3, 4, 0, 11)),
		"a stale value comes back":                 made(known(1, 2, 0, 10), known(3, 4, 10, 11), known(5, 6, 10, 12)),
		"one is seen before it was asked for":      made(known(1, 2, 10, 11), known(3, 4, 0, 10)),
		"a value that nobody wrote":                made(known(1, 2, 99, 10)),
		"what nobody was told of happens too late": made(unknown(5, 10), known(1, 2, 10, 11)),
		"a write that was seen is lost":            made(unknown(1, 10), known(2, 3, 10, 11), known(4, 5, 0, 12)),
	} {
		require.ErrorContains(t, h.checkSwaps(), "not linearizable", name)
	}
}

// What is there at the end tells of the last swap, which nobody else has got.
func TestRegisterIsReadAtTheEnd(t *testing.T) {
	last := func(value int64) *history {
		h := made(swap{call: 1, answer: 2, value: 10, known: true}, swap{call: 3, answer: 4, old: 10, value: 11, known: true})
		h.ended(map[int]int64{0: value})
		return h
	}
	require.NoError(t, last(11).checkSwaps())
	require.ErrorContains(t, last(10).checkSwaps(), "not linearizable")
	require.ErrorContains(t, last(0).checkSwaps(), "not linearizable")
}

// Registers do not know each other.
func TestRegistersAreApart(t *testing.T) {
	h := made(swap{call: 1, answer: 2, value: 10, known: true}, swap{register: 1, call: 3, answer: 4, value: 11, known: true})
	require.NoError(t, h.checkSwaps())
}
