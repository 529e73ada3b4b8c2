package walproposer

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// TestListFollowsTheMembership: whoever of the operator's list still answers names
// the members, and those are asked instead.
func TestListFollowsTheMembership(t *testing.T) {
	member := func(id pushwal.NodeID, port uint16) pushwal.Member {
		return pushwal.Member{ID: id, Host: "10.0.0.1", Port: port}
	}
	config := pushwal.Configuration{Generation: 5, Members: []pushwal.Member{member(2, 5002), member(4, 5004), member(5, 5005)}}
	says := func(id pushwal.NodeID, c pushwal.Configuration) replication.Answer {
		return replication.Answer{Status: replication.Status{NodeID: id, Configuration: c}}
	}
	gone := replication.Answer{Err: errors.New("no route to host")}
	founded := pushwal.Configuration{Generation: 1, Members: []pushwal.Member{member(1, 5001), member(2, 5002), member(3, 5003)}}
	list := []string{"10.0.0.1:5001", "host=10.0.0.1 port=5002 user=w sslmode=disable", "10.0.0.1:5003"}
	for name, tc := range map[string]struct {
		answers []replication.Answer
		want    []string
	}{
		"as founded":                         {[]replication.Answer{says(1, founded), says(2, founded), gone}, nil},
		"a removed node names them":          {[]replication.Answer{says(1, config), gone, gone}, []string{"10.0.0.1:5002", "10.0.0.1:5003", "10.0.0.1:5004", "10.0.0.1:5005"}},
		"the newest counts, who is out goes": {[]replication.Answer{says(1, founded), says(2, config), says(3, config)}, []string{"10.0.0.1:5002", "10.0.0.1:5004", "10.0.0.1:5005"}},
		"a node that moved is asked there":   {[]replication.Answer{gone, gone, says(4, config)}, []string{"10.0.0.1:5001", "10.0.0.1:5002", "10.0.0.1:5003", "10.0.0.1:5005"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := newPeers(list, "w", "secret", wal.TenantID{1}, "main")
			require.NoError(t, err)
			changed, err := p.follow(tc.answers)
			require.NoError(t, err)
			require.Equal(t, tc.want != nil, changed)
			if !changed {
				require.Len(t, p.all(), 3)
				return
			}
			var got []string
			for i := range p.all() {
				got = append(got, p.address(i))
			}
			require.Equal(t, tc.want, got)
			require.Contains(t, p.all()[len(got)-1], "user=w", "and logs in as at the first")
		})
	}
}
