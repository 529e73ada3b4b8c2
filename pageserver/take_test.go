package pageserver

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// memLog keeps bytes from base on in memory.
type memLog struct {
	base, oldest wal.LSN
	data         []byte
	tlis         []wal.TLI
}

func (l *memLog) Positions() walstore.Positions {
	return walstore.Positions{Write: l.base + wal.LSN(len(l.data))}
}
func (l *memLog) Oldest() wal.LSN { return max(l.oldest, l.base) }
func (l *memLog) ReadAt(p []byte, at wal.LSN) (int, error) {
	if at < l.Oldest() {
		return 0, walstore.ErrRemoved
	}
	return copy(p, l.data[at-l.base:]), nil
}

func (l *memLog) Append(tli wal.TLI, at wal.LSN, data []byte) error {
	if at != l.Positions().Write {
		return walstore.ErrGap
	}
	l.data, l.tlis = append(l.data, data...), append(l.tlis, tli)
	return nil
}

func frame(begin wal.LSN, data []byte) *pushwal.AppendRequest {
	end := begin + wal.LSN(len(data))
	return &pushwal.AppendRequest{Begin: begin, End: end, CommitLSN: end, TLI: 1, CRC: pushwal.Checksum(data), WAL: data}
}

func TestTakeAppendsDropsAndRefuses(t *testing.T) {
	src := bytes.Repeat([]byte("0123456789abcdef"), 64)
	l := &memLog{base: 0x1000000, data: bytes.Clone(src[:100])}
	scratch := make([]byte, 16)

	n, err := takeFrame(l, frame(0x1000000+40, src[40:160]), scratch)
	require.NoError(t, err)
	require.Equal(t, 60, n, "what was here is compared and dropped")
	require.Equal(t, src[:160], l.data)

	n, err = takeFrame(l, frame(0x1000000, src[:160]), scratch)
	require.NoError(t, err)
	require.Zero(t, n, "the same bytes from a second pusher are harmless")

	_, err = takeFrame(l, frame(0x1000000+161, src[161:170]), scratch)
	require.Equal(t, "55000", protocol.SQLState(err))
	require.ErrorContains(t, err, "begins at 0/10000A1, but the WAL here ends at 0/10000A0")

	l.oldest = 0x1000000 + 100
	n, err = takeFrame(l, frame(0x1000000+90, src[90:200]), scratch)
	require.NoError(t, err)
	require.Equal(t, 40, n)
	require.Equal(t, src[:200], l.data)
}

// The negative control of "never overwrite": one differing byte anywhere in
// the overlap stops the timeline and leaves its bytes alone.
func TestTakeNeverOverwrites(t *testing.T) {
	src := bytes.Repeat([]byte{7}, 100)
	for i := range 60 {
		l := &memLog{base: 0x1000000, data: bytes.Clone(src[:60])}
		pushed := bytes.Clone(src)
		pushed[i] ^= 1
		_, err := takeFrame(l, frame(0x1000000, pushed), make([]byte, 16))
		require.ErrorIs(t, err, errMismatch)
		require.ErrorContains(t, err, "first at "+(0x1000000+wal.LSN(i)).String())
		require.Equal(t, "XX001", protocol.SQLState(err))
		require.Equal(t, src[:60], l.data)
	}
}

func TestCheckFrame(t *testing.T) {
	h := wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 0x2000000}}}
	good := frame(0x1000000, []byte("abcdefgh"))
	require.NoError(t, checkFrame(good, h))

	for name, tc := range map[string]struct {
		edit func(*pushwal.AppendRequest)
		code string
	}{
		"flipped byte":   {func(m *pushwal.AppendRequest) { m.WAL = []byte("abcdefgH") }, "XX001"},
		"not committed":  {func(m *pushwal.AppendRequest) { m.CommitLSN-- }, "08P01"},
		"wrong timeline": {func(m *pushwal.AppendRequest) { m.TLI = 2 }, "08P01"},
		"over the switch": {func(m *pushwal.AppendRequest) {
			m.Begin, m.End, m.CommitLSN = 0x2000000-4, 0x2000000+4, 0x3000000
		}, "08P01"},
	} {
		m := *good
		tc.edit(&m)
		err := checkFrame(&m, h)
		require.Error(t, err, name)
		require.Equal(t, tc.code, protocol.SQLState(err), name)
	}
	require.NoError(t, checkFrame(&pushwal.AppendRequest{CommitLSN: 0x9000000}, h), "a heartbeat")
}

func TestAppendErrorCodes(t *testing.T) {
	require.Equal(t, "53100", protocol.SQLState(appendError(walstore.ErrDiskFull)))
	require.Equal(t, "XX001", protocol.SQLState(appendError(&walstore.CorruptionError{Err: errors.New("bad CRC")})))
	require.Equal(t, "XX000", protocol.SQLState(appendError(walstore.ErrFenced)))
}
