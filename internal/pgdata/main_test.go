package pgdata_test

import (
	"os"
	"testing"

	"github.com/walhaven/walhaven/compute/computetest"
)

func TestMain(m *testing.M) {
	computetest.Watch()
	os.Exit(m.Run())
}
