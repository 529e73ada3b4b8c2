package pageserver

import (
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
	})
}
