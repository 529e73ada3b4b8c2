package wal

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestLSNText(t *testing.T) {
	for text, want := range map[string]LSN{
		"0/0": 0, "0/16B3748": 0x16B3748, "1/0": 1 << 32, "FFFFFFFF/FFFFFFFF": math.MaxUint64,
		"16/B374D848": 0x16B374D848, "A/BCDEF": 0xA000BCDEF,
	} {
		got, err := ParseLSN(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, text, got.String())
	}
	for text, want := range map[string]LSN{"0/0016b3748"[2:]: 0, "00000001/0000000a": 1<<32 | 10, "a/b": 10<<32 | 11} {
		got, err := ParseLSN(text)
		if want == 0 {
			require.Error(t, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestLSNRefused(t *testing.T) {
	for _, text := range []string{
		"", "/", "0", "0/", "/0", "0/0/0", "0 /0", " 0/0", "0/0 ", "+1/0", "-1/0", "0x1/0", "1_0/0", "G/0",
		"000000001/0", "0/000000001", "0/0\n", "１/0",
	} {
		_, err := ParseLSN(text)
		require.Error(t, err, "%q", text)
		require.ErrorContains(t, err, fmt.Sprintf("%q", text))
	}
}

func TestLSNRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := LSN(rapid.Uint64().Draw(t, "lsn"))
		require.Equal(t, fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)), l.String(), "PostgreSQL's format")
		back, err := ParseLSN(l.String())
		require.NoError(t, err)
		require.Equal(t, l, back)

		b, err := json.Marshal(map[string]LSN{"lsn": l})
		require.NoError(t, err)
		var m map[string]LSN
		require.NoError(t, json.Unmarshal(b, &m))
		require.Equal(t, l, m["lsn"])
	})
	var l LSN = 5
	require.Error(t, l.UnmarshalText([]byte("nonsense")))
	require.Equal(t, LSN(5), l, "a failed parse changes nothing")
}

func TestLSNArithmetic(t *testing.T) {
	for in, want := range map[LSN]LSN{0: 0, 1: 8, 7: 8, 8: 8, 9: 16, 0x1FFF: 0x2000} {
		require.Equal(t, want, in.Align8())
	}
	for in, want := range map[LSN]LSN{0: 0, 8191: 0, 8192: 8192, 8193: 8192, 0x1FFFFFFFF: 0x1FFFFE000} {
		require.Equal(t, want, in.PageStart())
	}
	r := Range{Start: 0x10, End: 0x30}
	require.True(t, r.Valid())
	require.True(t, Range{Start: 5, End: 5}.Valid())
	require.False(t, Range{Start: 6, End: 5}.Valid())
	require.Equal(t, uint64(0x20), r.Len())
	require.Equal(t, "0/10..0/30", r.String())
}

func FuzzParseLSN(f *testing.F) {
	for _, s := range []string{"0/0", "16/B374D848", "ffffffff/FFFFFFFF", "0/000000001", "x/y", "1/2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLSN(s)
		if err != nil {
			require.Zero(t, l)
			return
		}
		back, err := ParseLSN(l.String())
		require.NoError(t, err)
		require.Equal(t, l, back)
	})
}
