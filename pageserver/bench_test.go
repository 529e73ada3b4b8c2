package pageserver

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pagestream"
)

// Page requests over loopback: one at a time and pipelined, of pages that were
// made before.
func BenchmarkPageRequests(b *testing.B) {
	o := newOrigin(b)
	n := readyNode(b, o)
	c := n.pageClient(pagestream.Version3)
	q := o.table(pagestream.GetPage, 0, pagestream.Latest, o.end)
	warm := c.ask(q)
	require.Empty(b, warm.Failure)
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			c.ask(q)
		}
	})
	b.Run("pipelined", func(b *testing.B) {
		before := cpuTime()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range b.N {
				c.receive()
			}
		}()
		for i := range b.N {
			c.send(&q)
			if i%64 == 63 {
				_ = c.stream.Flush() // A failure shows in receive.
			}
		}
		_ = c.stream.Flush() // As above.
		<-done
		b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
	})
}

// cpuTime is what this process has used, in nanoseconds: client and server.
func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // It cannot fail with these arguments.
	return u.Utime.Nano() + u.Stime.Nano()
}
