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

// relcacheInval says that relation 16384 of database 5 changed.
var relcacheInval = append([]byte{0xFE, 1, 2, 3}, words(5, 16384, 0)...)

// commitOf is a commit with everything that one can have.
func commitOf(major int) Record {
	info := uint32(XinfoDBInfo | XinfoSubxacts | XinfoRelations | XinfoDroppedStats | XinfoInvals | XinfoTwoPhase | XinfoGID | XinfoOrigin)
	data := bytes.Join([][]byte{
		words(1000, 0, info), words(5, 1663), words(2, 701, 702), words(1, 1663, 5, 16384),
		words(1), make([]byte, droppedStatsSize(major)), words(2), relcacheInval, make([]byte, InvalSize),
		words(700), []byte("gid\x00"), words(0xAB00, 0, 77, 0),
	}, nil)
	return Record{Major: major, RMID: RmgrTransaction, Info: XactCommitPrepared | XactHasInfo, MainData: data}
}

func TestParseTransactionEnd(t *testing.T) {
	for _, major := range []int{15, 18} {
		r := commitOf(major)
		x, ok, err := ParseTransactionEnd(&r)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, TransactionEnd{
			XID: 700, Committed: true, Prepared: true, Time: 1000, Subxids: words(701, 702), Relations: words(1663, 5, 16384),
			Invalidations: append(bytes.Clone(relcacheInval), make([]byte, InvalSize)...),
			HasOrigin:     true, OriginLSN: 0xAB00, OriginTime: 77,
		}, x)
		db, oid, ok := ChangedRelation(x.Invalidations)
		require.Equal(t, [3]any{uint32(5), uint32(16384), true}, [3]any{db, oid, ok})
		for _, other := range [][]byte{x.Invalidations[InvalSize:], relcacheInval[:InvalSize-1], append([]byte{0xFE, 0, 0, 0}, words(5, 0, 0)...)} {
			_, _, ok = ChangedRelation(other)
			require.False(t, ok)
		}
		for n := range r.MainData {
			cut := r
			cut.MainData = r.MainData[:n:n]
			_, ok, err := ParseTransactionEnd(&cut)
			require.True(t, ok)
			require.Error(t, err, "%d bytes", n)
		}
	}
	for _, other := range []Record{
		{RMID: RmgrHeap}, {RMID: RmgrTransaction, Info: XactPrepare}, {RMID: RmgrTransaction, Info: 0x50},
	} {
		_, ok, err := ParseTransactionEnd(&other)
		require.False(t, ok)
		require.NoError(t, err)
	}
	xid, ok, err := ParsePrepare(&Record{RMID: RmgrTransaction, Info: XactPrepare, MainData: words(1, 2, 750, 4)})
	require.True(t, ok)
	require.NoError(t, err)
	require.EqualValues(t, 750, xid)
	_, ok, err = ParsePrepare(&Record{RMID: RmgrTransaction, Info: XactPrepare, MainData: words(1, 2)})
	require.True(t, ok)
	require.Error(t, err)
}

func FuzzTransactionEnd(f *testing.F) {
	for _, major := range []int{15, 18} {
		f.Add(commitOf(major).MainData, uint8(XactCommitPrepared|XactHasInfo), uint8(major))
	}
	f.Add([]byte{}, uint8(XactPrepare), uint8(17))
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
