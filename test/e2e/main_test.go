// Package e2e holds the tests of the whole: what an operator types and sees,
// and what is left when parts of a cluster die. They run the real programs
// around a real PostgreSQL.
package e2e

import (
	"os"
	"testing"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/test/cluster"
)

func TestMain(m *testing.M) {
	computetest.Watch()
	code := m.Run()
	cluster.RemovePrograms()
	os.Exit(code)
}
