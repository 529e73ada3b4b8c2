package operator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/conninfo"
)

func TestReorderPutsFirstWhoAnswers(t *testing.T) {
	all := []string{"a:1", "b:2", "c:3"}
	for _, c := range []struct {
		answers []bool
		want    []string
	}{
		{[]bool{true, true, true}, nil},
		{[]bool{false, false, false}, nil},
		{[]bool{false, true, true}, []string{"b:2", "c:3", "a:1"}},
		{[]bool{true, false, true}, []string{"a:1", "c:3", "b:2"}},
		{[]bool{true, true, false}, []string{"b:2", "a:1", "c:3"}}, // Another text, so that it has an effect.
		{[]bool{false, false, true}, []string{"c:3", "a:1", "b:2"}},
	} {
		require.Equal(t, c.want, reorder(all, c.answers), c.answers)
	}
}

func TestAddressesOfConninfo(t *testing.T) {
	for text, want := range map[string][]string{
		"host=a,b port=1,2": {"a:1", "b:2"},
		"host=a,b port=1":   {"a:1", "b:1"},
		"host=a":            {"a:5432"},
		"host=::1 port=7":   {"[::1]:7"},
	} {
		settings, err := conninfo.Parse(text)
		require.NoError(t, err)
		require.Equal(t, want, addressesOf(settings), text)
	}
	hosts, ports := joinAddresses([]string{"[::1]:7", "b:2"})
	require.Equal(t, []string{"::1,b", "7,2"}, []string{hosts, ports})
}

// A safekeeper that is gone just when one fails over, and that the standby calls
// otherwise than the cluster file does, is no reason to refuse; a stranger is.
func TestStandbyFollowsThoughASafekeeperIsSilent(t *testing.T) {
	f := &failover{local: &local{out: t.Output(), Cluster: &Cluster{Safekeepers: []Node{{PG: "127.0.0.1:1"}}}}}
	follows := func(conninfo string) (bool, string) {
		f.facts = map[string]string{"primary_conninfo": conninfo}
		return f.followsSafekeepers(t.Context())
	}
	ok, hint := follows("host=127.0.0.1,127.0.0.1 port=1,2")
	require.True(t, ok, hint)
	ok, hint = follows("host=127.0.0.1 port=2")
	require.False(t, ok)
	require.Contains(t, hint, "127.0.0.1:2, of its primary_conninfo, does not answer")
}
