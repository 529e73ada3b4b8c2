package walrecord

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func words(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

// commitOf is a commit with everything that one can have.
func commitOf(major int) Record {
	info := uint32(xinfoDBInfo | xinfoSubxacts | xinfoRelations | xinfoDroppedStats | xinfoInvals | xinfoTwoPhase | xinfoGID | xinfoOrigin)
	data := bytes.Join([][]byte{
		words(1000, 0, info), words(5, 1663), words(2, 701, 702), words(1, 1663, 5, 16384),
		words(1), make([]byte, droppedStatsSize(major)), words(1), make([]byte, invalSize),
		words(700), []byte("gid\x00"), words(0xAB00, 0, 77, 0),
	}, nil)
	return Record{Major: major, RMID: RmgrTransaction, Info: xactCommitPrepared | xactHasInfo, MainData: data}
}

func TestParseTransactionEnd(t *testing.T) {
	for _, major := range []int{15, 18} {
		r := commitOf(major)
		x, ok, err := ParseTransactionEnd(&r)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, TransactionEnd{
			XID: 700, Committed: true, Prepared: true, Time: 1000, Subxids: words(701, 702), Relations: words(1663, 5, 16384),
			HasOrigin: true, OriginLSN: 0xAB00, OriginTime: 77,
		}, x)
		for n := range r.MainData {
			cut := r
			cut.MainData = r.MainData[:n:n]
			_, ok, err := ParseTransactionEnd(&cut)
			require.True(t, ok)
			require.Error(t, err, "%d bytes", n)
		}
	}
	for _, other := range []Record{
		{RMID: RmgrHeap}, {RMID: RmgrTransaction, Info: xactPrepare}, {RMID: RmgrTransaction, Info: 0x50},
	} {
		_, ok, err := ParseTransactionEnd(&other)
		require.False(t, ok)
		require.NoError(t, err)
	}
	xid, ok, err := ParsePrepare(&Record{RMID: RmgrTransaction, Info: xactPrepare, MainData: words(1, 2, 750, 4)})
	require.True(t, ok)
	require.NoError(t, err)
	require.EqualValues(t, 750, xid)
	_, ok, err = ParsePrepare(&Record{RMID: RmgrTransaction, Info: xactPrepare, MainData: words(1, 2)})
	require.True(t, ok)
	require.Error(t, err)
}

func FuzzTransactionEnd(f *testing.F) {
	for _, major := range []int{15, 18} {
		f.Add(commitOf(major).MainData, uint8(xactCommitPrepared|xactHasInfo), uint8(major))
	}
	f.Add([]byte{}, uint8(xactPrepare), uint8(17))
	f.Fuzz(func(t *testing.T, data []byte, info, major uint8) {
		r := Record{Major: int(major), RMID: RmgrTransaction, Info: info, MainData: data}
		x, _, err := ParseTransactionEnd(&r)
		if err == nil {
			require.Zero(t, len(x.Subxids)%4)
			require.Zero(t, len(x.Relations)%RelFileSize)
			require.LessOrEqual(t, len(x.Subxids)+len(x.Relations), len(data))
		}
		_, _, _ = ParsePrepare(&r)
	})
}
