package walproposer_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
)

// BenchmarkCommit is the price of the quorum: one client that commits one row
// after another, with the server's own flush alone and with two of three
// safekeepers on the same machine and disk.
func BenchmarkCommit(b *testing.B) {
	w := newWorld(b, computetest.Options{Settings: map[string]string{"fsync": "on"}})
	p := w.propose(w.options())
	p.streams()
	w.exec("CREATE TABLE b (i int)")
	run := func(b *testing.B, level string) {
		ctx := context.Background()
		c, err := w.pg.Connect(ctx, "postgres")
		require.NoError(b, err)
		defer c.Close(ctx) //nolint:errcheck // The server ends with the test.
		_, err = c.Exec(ctx, "SET synchronous_commit = "+level).ReadAll()
		require.NoError(b, err)
		b.ResetTimer()
		for range b.N {
			if _, err := c.Exec(ctx, "INSERT INTO b VALUES (1)").ReadAll(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("local", func(b *testing.B) { run(b, "local") })
	w.demandQuorum()
	b.Run("quorum", func(b *testing.B) { run(b, "on") })
}
