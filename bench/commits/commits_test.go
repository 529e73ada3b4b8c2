package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLatenciesAreThoseThatPgbenchLogged(t *testing.T) {
	dir := t.TempDir()
	_, err := readLatencies(dir)
	require.Error(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tx.1"), []byte("0 1 3000 0 1700000000 1\n0 2 1000 0 1700000000 2\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tx.1.1"), []byte("1 1 2000 0 1700000000 3\n1 2 10000 0 1700000000 3\n"), 0o600))
	all, err := readLatencies(dir)
	require.NoError(t, err)
	require.Equal(t, []int64{1000, 2000, 3000, 10000}, all)
	var c cell
	c.summarise(all)
	require.Equal(t, cell{mean: 4, p50: 3, p99: 10}, c)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tx.2"), []byte("progress\n"), 0o600))
	_, err = readLatencies(dir)
	require.Error(t, err)
}

// TestRatiosAreOfOneRound: the machine got twice as fast in the second round,
// which must not show.
func TestRatiosAreOfOneRound(t *testing.T) {
	var cells []cell
	for round, speed := range []float64{1, 2} {
		for i, tps := range []float64{100, 150} {
			cells = append(cells, cell{
				system: i, round: round, workload: "tiny", clients: 4, tps: tps * speed,
				mean: 1 / speed, p50: 2 / tps / speed, p99: 3 / tps / speed, cpu: 10,
			})
		}
	}
	var out strings.Builder
	report(&out, plan{systems: []string{"C", "walhaven"}, workloads: []string{"tiny"}, clients: []int{4}, rounds: 2, seconds: time.Second}, cells)
	require.Contains(t, out.String(), "| 4 | C | 150 | 67 % | 0.750 |")
	require.Contains(t, out.String(), "Ratios to C")
	require.Contains(t, out.String(), "| 4 | walhaven | 1.50 (1.50-1.50) | 0.67 (0.67-0.67) | 0.67 (0.67-0.67) | 1.00 (1.00-1.00) |")
	require.NotContains(t, out.String(), "Ratios to walhaven")
}

// TestLimits: each form of walhaven is held against what is asked of it, and the
// noise is the peer's own.
func TestLimits(t *testing.T) {
	p := plan{systems: []string{"C", "C", "walhaven", "walhaven-disposable"}, workloads: []string{"tiny"}, clients: []int{4}, rounds: 2}
	var cells []cell
	for round := range p.rounds {
		for i, tps := range []float64{100, 110, 95, 180} {
			cells = append(cells, cell{system: i, round: round, workload: "tiny", clients: 4, tps: tps, p50: 1, p99: 0.5 + float64(i), cpu: 10 * float64(1+i)})
		}
	}
	var out strings.Builder
	reportLimits(&out, p, cells)
	require.Contains(t, out.String(), "| tiny | 4 | walhaven | commits/s to C | ≥ 0.90 | ≥ 1.30 | 0.95 (0.95-0.95) | 1.10-1.10 | must reached |")
	require.Contains(t, out.String(), "| tiny | 4 | walhaven | CPU/commit to C | ≤ 1.35 | ≤ 0.85 | 3.00 (3.00-3.00) | 2.00-2.00 | **missed** |")
	require.Contains(t, out.String(), "| tiny | 4 | walhaven-disposable | commits/s to C | ≥ 1.20 | ≥ 1.70 | 1.80 (1.80-1.80) | 1.10-1.10 | goal reached |")
	require.NotContains(t, out.String(), "walhaven-disposable | p50")
	require.NotContains(t, out.String(), "D-on")
	out.Reset()
	reportLimits(&out, plan{systems: []string{"A"}, workloads: p.workloads, clients: p.clients}, cells)
	require.Empty(t, out.String())
}
