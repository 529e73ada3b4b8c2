package postmaster_test

import (
	"os"
	"testing"

	"github.com/walhaven/walhaven/compute/computetest"
)

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(askVar); ok {
		answer(dir)
		return
	}
	computetest.Watch()
	os.Exit(m.Run())
}
