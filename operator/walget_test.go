package operator

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// answerOf is node id's, which knows the members by the incarnations given.
func answerOf(id pushwal.NodeID, end wal.LSN, incarnations ...byte) nodeView {
	c := pushwal.Configuration{Generation: 1}
	for i, inc := range incarnations {
		c.Members = append(c.Members, pushwal.Member{ID: pushwal.NodeID(i) + 1, Host: "h", Port: 1, Incarnation: pushwal.Incarnation{inc}})
	}
	return nodeView{Node: Node{ID: int(id)}, status: replication.Status{
		NodeID: id, Incarnation: c.Members[id-1].Incarnation, Configuration: c, SegmentSize: wal.DefaultSegmentSize,
		FlushLSN: end, CommitLSN: end, WriterAge: time.Minute,
	}}
}

// A laggard and a member that lost its disk and was founded anew do not know
// where WAL ends: the third may have acknowledged more.
func TestRefoundedMemberDoesNotTellTheEndOfWAL(t *testing.T) {
	laggard, anew := answerOf(2, 0x2000, 1, 2, 3), answerOf(3, 0x1000, 1, 2, 33)
	down := nodeView{Node: Node{ID: 1}, err: ErrNoQuorum}
	for _, answers := range [][]nodeView{{down, laggard, anew}, {anew, laggard, down}} {
		_, err := viewOf(answers)
		require.ErrorIs(t, err, ErrNoQuorum)
	}
	v, err := viewOf([]nodeView{anew, laggard, answerOf(1, 0x3000, 1, 2, 3)})
	require.NoError(t, err)
	require.Len(t, v.nodes, 2)
	require.Equal(t, wal.LSN(0x3000), v.commit)
	require.False(t, v.settled)

	_, err = viewOf([]nodeView{answerOf(1, 0x3000, 1, 2, 3), answerOf(2, 0x1000, 1, 22, 33), answerOf(3, 0x1000, 1, 22, 33)})
	require.ErrorIs(t, err, ErrNoQuorum)
	require.ErrorContains(t, err, "founded again")
}

func TestJoiningNodeDoesNotTellTheEndOfWAL(t *testing.T) {
	joining := answerOf(2, 0x1000, 1, 2, 3)
	joining.status.Joining = true
	_, err := viewOf([]nodeView{joining, answerOf(3, 0x2000, 1, 2, 3)})
	require.ErrorIs(t, err, ErrNoQuorum)
	v, err := viewOf([]nodeView{answerOf(1, 0x2000, 1, 2, 3), answerOf(3, 0x2000, 1, 2, 3)})
	require.NoError(t, err)
	require.True(t, v.settled)
}

// Without a membership there is only the list; a safekeeper that is in it under
// two addresses is one.
func TestOneNodeUnderTwoAddressesIsOne(t *testing.T) {
	a := answerOf(1, 0x2000, 1)
	a.status.Configuration = pushwal.Configuration{}
	again := a
	again.ID = 2
	down := nodeView{Node: Node{ID: 3}, err: ErrNoQuorum}
	_, err := viewOf([]nodeView{a, again, down})
	require.ErrorIs(t, err, ErrNoQuorum)
	require.ErrorContains(t, err, "at another address")
}
