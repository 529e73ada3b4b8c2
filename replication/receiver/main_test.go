package receiver

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/compute/computetest"
)

func TestMain(m *testing.M) {
	computetest.Watch()
	goleak.VerifyTestMain(m)
}
