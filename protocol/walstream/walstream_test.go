package walstream

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/wal"
)

const exampleTime = wal.Timestamp(0x0002d8a1f0c40000)

func example(t testing.TB, dump string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(dump, " ", ""))
	require.NoError(t, err)
	return b
}

// TestWorkedExamples are the dumps of the protocol's description.
func TestWorkedExamples(t *testing.T) {
	w := example(t, "77 00 00 00 00 01 60 01 80 00 00 00 00 01 60 01 88 00 02 d8 a1 f0 c4 00 00 a0 a1 a2 a3 a4 a5 a6 a7")
	data := XLogData{Start: 0x1600180, WALEnd: 0x1600188, Time: exampleTime, Data: w[25:]}
	var gotData XLogData
	require.NoError(t, DecodeXLogData(w, &gotData))
	require.Equal(t, data, gotData)
	require.Equal(t, w, append(AppendXLogDataHeader(nil, &data), data.Data...))

	k := example(t, "6b 00 00 00 00 01 60 01 88 00 02 d8 a1 f0 c4 00 00 01")
	keepalive := Keepalive{WALEnd: 0x1600188, Time: exampleTime, ReplyRequested: true}
	var gotKeepalive Keepalive
	require.NoError(t, DecodeKeepalive(k, &gotKeepalive))
	require.Equal(t, keepalive, gotKeepalive)
	require.Equal(t, k, AppendKeepalive(nil, &keepalive))

	r := example(t, "72 00 00 00 00 01 60 01 88 00 00 00 00 01 60 01 88 00 00 00 00 01 60 01 80 00 02 d8 a1 f0 c4 00 00 00")
	status := StatusUpdate{Write: 0x1600188, Flush: 0x1600188, Apply: 0x1600180, Time: exampleTime}
	var gotStatus StatusUpdate
	require.NoError(t, DecodeStatusUpdate(r, &gotStatus))
	require.Equal(t, status, gotStatus)
	require.Equal(t, r, AppendStatusUpdate(nil, &status))

	h := example(t, "68 00 02 d8 a1 f0 c4 00 00 00 00 02 ee 00 00 00 01 00 00 00 00 00 00 00 00")
	standby := HotStandbyFeedback{Time: exampleTime, Xmin: 0x2ee, XminEpoch: 1}
	var gotStandby HotStandbyFeedback
	require.NoError(t, DecodeHotStandbyFeedback(h, &gotStandby))
	require.Equal(t, standby, gotStandby)
	require.Equal(t, h, AppendHotStandbyFeedback(nil, &standby))
	require.EqualValues(t, 1<<32|0x2ee, standby.FullXmin())
	require.Zero(t, standby.FullCatalogXmin())

	z := example(t, "7a 00 00 00 00 00 00 00 03 06 63 75")
	block, err := DecodePageserverFeedback(z)
	require.NoError(t, err)
	require.Equal(t, z[9:], block)
	require.Equal(t, z, AppendPageserverFeedback(nil, block))
	require.Len(t, z[:9], PageserverFeedbackHeaderSize)
}

// TestRecorded decodes messages of PostgreSQL servers, standbys and
// pg_receivewal and encodes them to the same bytes.
func TestRecorded(t *testing.T) {
	seen := map[byte]int{}
	for _, b := range recorded(t) {
		again, err := reencode(b)
		require.NoError(t, err)
		require.Equal(t, b, again)
		seen[b[0]]++
	}
	for _, kind := range []byte("wkrh") {
		require.NotZero(t, seen[kind], "%c", kind)
	}
}

func recorded(t testing.TB) (out [][]byte) {
	f, err := os.Open("testdata/recorded.jsonl")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m struct{ Hex string }
		require.NoError(t, json.Unmarshal(lines.Bytes(), &m))
		out = append(out, example(t, m.Hex))
	}
	return out
}

func reencode(b []byte) ([]byte, error) {
	switch Kind(b) {
	case KindXLogData:
		var m XLogData
		err := DecodeXLogData(b, &m)
		return append(AppendXLogDataHeader(nil, &m), m.Data...), err
	case KindKeepalive:
		var m Keepalive
		err := DecodeKeepalive(b, &m)
		return AppendKeepalive(nil, &m), err
	case KindStatusUpdate:
		var m StatusUpdate
		err := DecodeStatusUpdate(b, &m)
		return AppendStatusUpdate(nil, &m), err
	case KindHotStandbyFeedback:
		var m HotStandbyFeedback
		err := DecodeHotStandbyFeedback(b, &m)
		return AppendHotStandbyFeedback(nil, &m), err
	}
	block, err := DecodePageserverFeedback(b)
	return AppendPageserverFeedback(nil, block), err
}

func TestRefusesOtherLengths(t *testing.T) {
	for kind, size := range map[byte]int{KindKeepalive: 18, KindStatusUpdate: 34, KindHotStandbyFeedback: 25} {
		for _, n := range []int{1, size - 1, size + 1} {
			_, err := reencode(append([]byte{kind}, make([]byte, n-1)...))
			require.ErrorIs(t, err, ErrMalformed)
		}
	}
	require.ErrorIs(t, DecodeXLogData(make([]byte, 24), new(XLogData)), ErrMalformed)
	require.ErrorIs(t, DecodeXLogData(make([]byte, 25), new(XLogData)), ErrMalformed)
	_, err := DecodePageserverFeedback([]byte("z\xff\xff\xff\xff\xff\xff\xff\xff"))
	require.ErrorIs(t, err, ErrMalformed)
	_, err = DecodePageserverFeedback([]byte("z"))
	require.ErrorIs(t, err, ErrMalformed)
	require.Zero(t, Kind(nil))
}

func TestNoAllocation(t *testing.T) {
	buf := make([]byte, 0, 64)
	w := AppendXLogDataHeader(nil, &XLogData{})
	r := AppendStatusUpdate(nil, &StatusUpdate{})
	var data XLogData
	var status StatusUpdate
	alloctest.None(t, 100, func() {
		if DecodeXLogData(w, &data) != nil || DecodeStatusUpdate(r, &status) != nil {
			panic("refused")
		}
		AppendXLogDataHeader(buf[:0], &data)
		AppendKeepalive(buf[:0], &Keepalive{})
		AppendStatusUpdate(buf[:0], &status)
	})
}

func FuzzDecode(f *testing.F) {
	for _, b := range recorded(f) {
		f.Add(b)
	}
	f.Add(AppendPageserverFeedback(nil, []byte{0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := reencode(b)
		if err != nil {
			return
		}
		second, err := reencode(first)
		require.NoError(t, err)
		require.Equal(t, first, second)
	})
}
