package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"
)

// Pgbench is the real pgbench, one run after the other, so that however long a
// test takes there is load until its end.
type Pgbench struct {
	c      *Cluster
	cancel context.CancelFunc
	done   sync.WaitGroup
	stop   atomic.Bool

	mu           sync.Mutex
	transactions int
	runs         int
	failures     []string
}

// pgbenchRun is the length of one run in seconds.
const pgbenchRun = "4"

// StartPgbench initialises pgbench's tables and keeps clients connections busy
// until Stop.
func (c *Cluster) StartPgbench(clients int) *Pgbench {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pgbench{c: c, cancel: cancel}
	out, err := p.run(ctx, "-i", "-q", "-s", "2")
	require.NoError(c.t, err, out)
	p.done.Go(func() {
		for !p.stop.Load() {
			out, err := p.run(ctx, "-c", strconv.Itoa(clients), "-j", "2", "-T", pgbenchRun)
			p.take(out, err)
		}
	})
	c.t.Cleanup(func() {
		cancel()
		p.done.Wait()
	})
	return p
}

func (p *Pgbench) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(p.c.Postgres.BinDir, "pgbench"), append(args, p.c.Postgres.Conninfo())...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var (
	processed = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	failed    = regexp.MustCompile(`number of failed transactions: ([1-9]\d*)`)
)

// take reads what one run prints.
func (p *Pgbench) take(out string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := processed.FindStringSubmatch(out)
	if err != nil || m == nil || failed.MatchString(out) {
		p.failures = append(p.failures, fmt.Sprintf("%v: %s", err, out))
		return
	}
	n, _ := strconv.Atoi(m[1]) // digits, says the expression
	p.transactions += n
	p.runs++
}

// Stop waits for the end of the last run and returns how many transactions there
// were; one that failed, or a run that did not end well, fails the test.
func (p *Pgbench) Stop() (transactions, runs int) {
	p.c.t.Helper()
	p.stop.Store(true)
	p.done.Wait()
	require.Empty(p.c.t, p.failures, "failed transactions")
	return p.transactions, p.runs
}

// AwaitCommits returns when n more transactions of pgbench are committed.
func (p *Pgbench) AwaitCommits(n int) {
	p.c.t.Helper()
	count := func() int {
		v, err := p.c.Server.QueryValue(context.Background(), "SELECT count(*) FROM pgbench_history")
		if err != nil {
			return 0
		}
		rows, _ := strconv.Atoi(v)
		return rows
	}
	begin := count()
	p.c.Eventually(fmt.Sprintf("%d more commits", n), func() bool { return count() >= begin+n })
}
