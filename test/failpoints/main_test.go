// Package failpoints kills the real programs at every named fail point, one
// after the other, under a writer of unique rows, and shows that a process that
// dies just before or just after a store, an fsync or a send takes no
// acknowledged commit with it and comes back as a full member.
//
// What a killed process has written is in the kernel's page cache and survives.
// So these tests show order and atomicity (nothing is reported before a quorum
// has it, no file is left half replaced), and not that fsync is called: that is
// what test/powerloss and the crash tests of wal/walstore are for.
package failpoints

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
