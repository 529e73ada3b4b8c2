package walproposer_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/invariant"
)

// deathPoints are the moments before and after each message that leaves a tap or
// a push worker, and around each publish. A worker dies there three times, once
// for each safekeeper.
var deathPoints = []string{
	"walproposer/tap/received", "walproposer/tap/send", "walproposer/report/before", "proposing/commit/before-report",
	"shmqueue/publish/before", "shmqueue/publish/after",
	"walproposer/worker/send", "walproposer/control/before", "walproposer/push/before", "walproposer/push/after",
}

// TestDeathAtEachSend has the processes of the walproposer kill themselves at
// each fail point: every commit that was begun is acknowledged, by the next ones,
// and all are there.
func TestDeathAtEachSend(t *testing.T) {
	invariant.Require(t)
	w := newWorld(t, computetest.Options{})
	w.demandQuorum()
	actions := []string{"kill"}
	if os.Getenv("WALHAVEN_TEST_LONG") != "" {
		actions = append(actions, "stop") // until it is missed
	}
	row, killed := 0, 0
	for _, action := range actions {
		for _, point := range deathPoints {
			t.Run(action+" at "+point, func(t *testing.T) {
				// Some points are passed a few times only.
				n := 10
				if point == "walproposer/control/before" {
					n = 2
				}
				t.Setenv("WALHAVEN_FAILPOINTS", fmt.Sprintf("%s@%d=%s", point, n, action))
				o := w.options()
				o.InProcess, o.Takeover = false, true
				p := w.propose(o)
				for after := 0; after < 10; row++ {
					require.NoError(t, w.insert(row))
					if p.deaths() > 0 {
						after++
					}
				}
				killed += p.deaths()
				p.stop()
			})
		}
	}
	rows, err := w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(row), rows)
	t.Logf("%d fail points, %d processes died there, %d commits, none failed and none lost", len(deathPoints), killed, row)
}

// deaths counts child processes that ended unasked.
func (p *proposer) deaths() (n int) {
	p.t.Helper()
	families, err := p.reg.Gather()
	require.NoError(p.t, err)
	for _, f := range families {
		if f.GetName() == "walhaven_walproposer_process_deaths_total" {
			for _, m := range f.GetMetric() {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}
