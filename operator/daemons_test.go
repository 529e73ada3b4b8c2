package operator

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A cluster whose PostgreSQL `up` starts, behind a check, says whether WAL is pushed
// early; of a server that somebody else starts the walproposer finds out.
func TestEarlyPushOfAWalproposer(t *testing.T) {
	for _, tc := range []struct {
		name       string
		early      bool
		disposable bool
		attached   bool
		want, not  []string
	}{
		{name: "made with it", early: true, want: []string{"--early-push"}, not: []string{"--no-early-push"}},
		{name: "made without it", want: []string{"--no-early-push"}, not: []string{"--early-push"}},
		{name: "disposable", early: true, disposable: true, want: []string{"--no-early-push", "--disposable-compute"}, not: []string{"--early-push"}},
		{name: "attached", attached: true, not: []string{"--early-push", "--no-early-push"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := &local{Cluster: &Cluster{Walproposer: Walproposer{EarlyPush: tc.early}, Postgres: Postgres{Disposable: tc.disposable}}}
			if tc.attached {
				l.Attached = &Attachment{}
			}
			args := l.walproposer().args
			for _, a := range tc.want {
				require.Contains(t, args, a)
			}
			for _, a := range tc.not {
				require.NotContains(t, args, a)
			}
		})
	}
}
