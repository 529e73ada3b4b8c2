package pagekey

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal/walrecord"
)

var rel = walrecord.RelFile{Tablespace: 1663, Database: 5, Relation: 16384}

func TestKeysAreAsDocumented(t *testing.T) {
	for _, c := range []struct {
		key  pagestore.Key
		want string
	}{
		{Database(1663, 5), "01000000" + "0000067f" + "00000005" + "000000000000000000000000"},
		{RelationSize(rel, walrecord.ForkVM), "02000000" + "0000067f" + "00000005" + "00004000" + "00000002" + "00000000"},
		{Block(rel, walrecord.ForkFSM, 7), "03000000" + "0000067f" + "00000005" + "00004000" + "00000001" + "00000007"},
		{SLRUSegment(MultiXactOffsets, 3), "04000002" + "0000000000000000" + "00000003" + "0000000000000000"},
		{SLRUPage(CommitTS, 33), "05000003" + "0000000000000000" + "00000001" + "00000000" + "00000001"},
		{TwoPhase(0x01020304), "06000000" + "0000000000000000" + "01020304" + "0000000000000000"},
		{ControlFile(), "07000001" + "0000000000000000" + "00000000" + "0000000000000000"},
		{Checkpoint(), "07000002" + "0000000000000000" + "00000000" + "0000000000000000"},
		{RelMap(1664, 0), "07000003" + "00000680" + "00000000" + "00000000" + "0000000000000000"},
		{Origin(9), "07000004" + "0000000000000000" + "00000009" + "0000000000000000"},
		{Tablespace(16400), "07000005" + "0000000000000000" + "00004010" + "0000000000000000"},
		{Event(4, 0x1_00000008, 2), "08000004" + "0000000100000008" + "00000002" + "0000000000000000"},
	} {
		require.Equal(t, c.want, c.key.String())
		ref, err := Parse(c.key)
		require.NoError(t, err, c.want)
		require.Equal(t, Class(c.key[0]), ref.Class)
	}
}

func TestParseSaysWhatAKeyNames(t *testing.T) {
	ref, err := Parse(Block(rel, walrecord.ForkInit, 12))
	require.NoError(t, err)
	require.Equal(t, Ref{Class: ClassBlock, Rel: rel, Fork: walrecord.ForkInit, Block: 12}, ref)
	ref, err = Parse(SLRUPage(CLOG, 70))
	require.NoError(t, err)
	require.Equal(t, Ref{Class: ClassSLRUPage, Segment: 2, Block: 6, Page: 70}, ref)
	ref, err = Parse(Event(3, 0xAB_0000CDE0, 1))
	require.NoError(t, err)
	require.Equal(t, Ref{Class: ClassEvent, Kind: 3, LSN: 0xAB_0000CDE0, Number: 1}, ref)

	for _, wrong := range []pagestore.Key{{}, pagestore.MaxKey, {0: 9}, {0: 1, 23: 1}, {0: 4, 4: 1}} {
		_, err := Parse(wrong)
		require.Error(t, err, wrong)
	}
}

// Each range holds what its name says and nothing of its neighbours.
func TestRangesHoldWhatTheyName(t *testing.T) {
	next := walrecord.RelFile{Tablespace: 1663, Database: 5, Relation: 16385}
	other := walrecord.RelFile{Tablespace: 1663, Database: 6, Relation: 1}
	for name, c := range map[string]struct {
		r       pagestore.KeyRange
		in, out []pagestore.Key
	}{
		"relations of a database": {
			RelationsOf(1663, 5),
			[]pagestore.Key{RelationSize(rel, 0), RelationSize(next, 3)},
			[]pagestore.Key{RelationSize(other, 0), Block(rel, 0, 0), Database(1663, 5)},
		},
		"blocks of a relation": {
			BlocksOf(rel),
			[]pagestore.Key{Block(rel, 0, 0), Block(rel, 3, 0xFFFFFFFE)},
			[]pagestore.Key{Block(next, 0, 0), RelationSize(rel, 0)},
		},
		"blocks from a block on": {
			BlocksFrom(rel, walrecord.ForkMain, 10),
			[]pagestore.Key{Block(rel, 0, 10), Block(rel, 0, 0xFFFFFFFF)},
			[]pagestore.Key{Block(rel, 0, 9), Block(rel, 1, 0), Block(rel, 1, 10)},
		},
		"segments": {
			SLRUSegments(MultiXactMembers),
			[]pagestore.Key{SLRUSegment(MultiXactMembers, 0), SLRUSegment(MultiXactMembers, 0xFFFFFFFF)},
			[]pagestore.Key{SLRUSegment(CLOG, 0), SLRUSegment(MultiXactOffsets, 0), SLRUPage(MultiXactMembers, 0)},
		},
		"pages of a segment": {
			SegmentPages(CLOG, 1),
			[]pagestore.Key{SLRUPage(CLOG, 32), SLRUPage(CLOG, 63)},
			[]pagestore.Key{SLRUPage(CLOG, 31), SLRUPage(CLOG, 64), SLRUPage(CommitTS, 32)},
		},
		"origins": {
			Origins(),
			[]pagestore.Key{Origin(1), Origin(0xFFFF)},
			[]pagestore.Key{Tablespace(1), RelMap(1663, 5), ControlFile()},
		},
		"events": {
			Events(2, 100, 200),
			[]pagestore.Key{Event(2, 101, 0), Event(2, 200, 5)},
			[]pagestore.Key{Event(2, 100, 0), Event(2, 100, 9), Event(2, 201, 0), Event(1, 150, 0)},
		},
	} {
		for _, k := range c.in {
			require.True(t, c.r.Contains(k), "%s: %s", name, k)
		}
		for _, k := range c.out {
			require.False(t, c.r.Contains(k), "%s: %s", name, k)
		}
	}
}
