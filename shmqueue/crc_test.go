package shmqueue

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCombineAndSuffixAgreeWithChecksumOfTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "a")
		b := rapid.SliceOfN(rapid.Byte(), 0, 20000).Draw(t, "b")
		whole := Checksum(append(append([]byte{}, a...), b...))
		require.Equal(t, whole, combine(Checksum(a), Checksum(b), uint32(len(b))))
		require.Equal(t, Checksum(b), suffix(whole, Checksum(a), uint32(len(b))))
	})
}

func TestCombineOverTheLongestFrame(t *testing.T) {
	b := make([]byte, MaxFrame)
	for i := range b {
		b[i] = byte(i * 7)
	}
	require.Equal(t, Checksum(append([]byte("head"), b...)), combine(Checksum([]byte("head")), Checksum(b), MaxFrame))
}
