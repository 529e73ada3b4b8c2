package operator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/headless"
)

// A node ID that was typed wrong is told from one whose removal has gone through while
// its command had not ended: that one is in the cluster file, or was in the joint state.
func TestRemovingWhoIsNoMember(t *testing.T) {
	members := []pushwal.Member{{ID: 1, Host: "h", Port: 1}, {ID: 2, Host: "h", Port: 2}}
	now := &Members{view: headless.View{}}
	now.view.Config = pushwal.Configuration{Generation: 5, Members: members}
	remove := MemberChange{Remove: 9}

	_, err := (&Cluster{}).plan(t.Context(), now, remove)
	require.EqualError(t, err, "node 9 is no member of generation 5, nothing was changed")

	inFile := &Cluster{Safekeepers: []Node{{ID: 1}, {ID: 9}}}
	want, err := inFile.plan(t.Context(), now, remove)
	require.NoError(t, err)
	require.Equal(t, want.Members, members)

	now.before = []pushwal.Member{members[0], members[1], {ID: 9, Host: "h", Port: 9}}
	want, err = (&Cluster{}).plan(t.Context(), now, remove)
	require.NoError(t, err)
	require.Equal(t, want.Members, members)

	want, err = (&Cluster{}).plan(t.Context(), now, MemberChange{Remove: 2})
	require.NoError(t, err)
	require.Equal(t, want.Members, members[:1])
}
