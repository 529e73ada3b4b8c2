package wal

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSegmentSizes(t *testing.T) {
	valid := 0
	for size := SegmentSize(1); size != 0; size *= 2 {
		if !size.Valid() {
			require.True(t, size < 1<<20 || size > 1<<30)
			continue
		}
		valid++
		back, err := ParseSegmentSize(size.String())
		require.NoError(t, err)
		require.Equal(t, size, back)
		require.False(t, (size+1).Valid() || (size-1).Valid() || (size+size/2).Valid())
	}
	require.Equal(t, 11, valid)
	require.False(t, SegmentSize(0).Valid())
	require.Equal(t, "16MB", DefaultSegmentSize.String())
	require.Equal(t, "1GB", MaxSegmentSize.String())
	for _, s := range []string{"", "MB", "16", "16mb", "16 MB", "-1MB", "0MB", "3MB", "2GB", "0GB", "1024GB", "65536MB", "2048MB", "1TB", "1.5MB", "1MBMB"} {
		_, err := ParseSegmentSize(s)
		require.Error(t, err, "%q", s)
	}
	// 1024MB is a GB in another spelling; a bare number would be blocks.
	size, err := ParseSegmentSize("1024MB")
	require.NoError(t, err)
	require.Equal(t, MaxSegmentSize, size)
}

// TestSegmentNames: names that PostgreSQL gives, among them the turn of the last
// part, which depends on the size.
func TestSegmentNames(t *testing.T) {
	for _, c := range []struct {
		size SegmentSize
		tli  TLI
		lsn  LSN
		want string
	}{
		{16 << 20, 1, 0x1000000, "000000010000000000000001"},
		{16 << 20, 1, 0xFFFFFFFF, "0000000100000000000000FF"},
		{16 << 20, 10, 1 << 32, "0000000A0000000100000000"},
		{1 << 20, 1, 0xFFFFFFFF, "000000010000000000000FFF"},
		{1 << 30, 1, 0xFFFFFFFF, "000000010000000000000003"},
		{1 << 30, 1, 0x1FFFFFFFF, "000000010000000100000003"},
		{64 << 20, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, "FFFFFFFFFFFFFFFF0000003F"},
	} {
		no := c.size.SegmentNo(c.lsn)
		require.Equal(t, c.want, c.size.FileName(c.tli, no))
		tli, back, err := c.size.ParseFileName(c.want)
		require.NoError(t, err)
		require.Equal(t, c.tli, tli)
		require.Equal(t, no, back)
	}
	for _, name := range []string{
		"", "000000010000000000000001.partial", "00000001000000000000000", "0000000100000000000000010",
		"00000001000000000000000g", "00000001000000000000000a", "000000000000000000000001", // timeline 0
		"000000010000000000000100", // past the last segment of 16 MiB
		"00000001.history", " 00000010000000000000001",
	} {
		_, _, err := DefaultSegmentSize.ParseFileName(name)
		require.Error(t, err, "%q", name)
		require.ErrorContains(t, err, fmt.Sprintf("%q", name))
	}
}

func TestSegmentArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := SegmentSize(1) << rapid.IntRange(20, 30).Draw(t, "size")
		l := LSN(rapid.Uint64().Draw(t, "lsn"))
		no := size.SegmentNo(l)
		require.Equal(t, size.SegmentStart(l), size.Start(no))
		require.Equal(t, l, size.Start(no)+LSN(size.Offset(l)))
		require.Less(t, size.Offset(l), uint32(size))
		tli := TLI(rapid.Uint32Range(1, 1<<32-1).Draw(t, "tli"))
		name := size.FileName(tli, no)
		require.Len(t, name, 24)
		tli2, no2, err := size.ParseFileName(name)
		require.NoError(t, err)
		require.Equal(t, tli, tli2)
		require.Equal(t, no, no2)
	})
}

func FuzzParseFileName(f *testing.F) {
	f.Add("000000010000000000000001", uint8(24))
	f.Add("FFFFFFFFFFFFFFFF00000FFF", uint8(20))
	f.Add("000000010000000000000001.partial", uint8(30))
	f.Fuzz(func(t *testing.T, name string, shift uint8) {
		size := SegmentSize(1) << (20 + shift%11)
		tli, no, err := size.ParseFileName(name)
		if err == nil {
			require.Equal(t, name, size.FileName(tli, no))
		}
	})
}

func FuzzParseSegmentSize(f *testing.F) {
	for _, s := range []string{"16MB", "1GB", "1024MB", "0MB", "99999999999999999999MB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		size, err := ParseSegmentSize(s)
		require.Equal(t, err == nil, size.Valid())
	})
}
