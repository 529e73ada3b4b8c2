package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The speed is that from the last look before anything moved: a start is not in it.
func TestSpeedBeginsWithTheFirstProgress(t *testing.T) {
	begin := time.Unix(1000, 0)
	seen := []progress{
		{begin, 100, time.Second},
		{begin.Add(5 * time.Second), 100, 2 * time.Second},
		{begin.Add(6 * time.Second), 600, 3 * time.Second},
		{begin.Add(7 * time.Second), 2100, 4 * time.Second},
	}
	got := takenOf(seen)
	require.InDelta(t, 1000, got.rate, 1e-9)
	require.InDelta(t, 2./2000, got.cpu, 1e-9)
}

func TestQuantiles(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i))
	}
	require.Equal(t, quantiles{p50: 101, p99: 199}, quantilesOf(all))
}

func TestMetricsAreSummedOverLabels(t *testing.T) {
	m, err := parseMetrics(strings.NewReader("# HELP a b\nwalhaven_pageserver_x{a=\"b c\"} 2\nwalhaven_pageserver_x{a=\"d\"} 3e+06\n\n"))
	require.NoError(t, err)
	require.Equal(t, samples{"walhaven_pageserver_x": 3000002}, m)
	_, err = parseMetrics(strings.NewReader("x y\n"))
	require.Error(t, err)
}

// Ratios are of one round: that the machine got faster must not show.
func TestTable(t *testing.T) {
	turns := []turn{
		{standby: taken{rate: 90e6, cpu: 4e-9}, pageserver: taken{rate: 150e6, cpu: 8e-9, space: 0.5}, again: taken{rate: 110e6, cpu: 4e-9}},
		{standby: taken{rate: 200e6, cpu: 2e-9}, pageserver: taken{rate: 300e6, cpu: 4e-9, space: 0.5}, again: taken{rate: 200e6, cpu: 2e-9}},
	}
	r := results{
		version: "15.18", rounds: 2, ingest: []ingested{{name: "bulk", from: 0, to: 64 << 20, turns: turns}},
		asked: []asked{
			{
				small: served{cached: quantiles{p50: 20000}, cold: quantiles{p50: 50000}, bytes: 5e6},
				large: served{cached: quantiles{p50: 22000}, cold: quantiles{p50: 60000, p99: 90000}, bytes: 50e6, records: 11, layers: 1},
			},
			{
				small: served{cached: quantiles{p50: 40000}, cold: quantiles{p50: 100000}},
				large: served{cached: quantiles{p50: 40000}, cold: quantiles{p50: 160000, p99: 190000}},
			},
		},
		memory: 400 << 20,
		kept:   kept{layers: 31e6, before: 70e6, base: 39e6, window: 1e6},
		redo:   applied{records: 5, perSecond: 1.9e6},
	}
	var out strings.Builder
	r.write(&out)
	for _, line := range []string{
		"| what | measured | peer | ratio | must | goal |",
		"| ingest to durable layers, 64 MiB of bulk WAL | 225 (150 to 300) MB/s | 150 (100 to 200) MB/s | 1.50 (1.50 to 1.50) | at least 1.0: yes | 2.0: **no** |",
		"| noise: the standby's second turn beside its first |  |  | 1.11 (1.00 to 1.22), CPU 1.00 (1.00 to 1.00) |  |  |",
		"| CPU of that | 6.00 (4.00 to 8.00) ns a byte | 3.00 (2.00 to 4.00) ns a byte | 2.00 (2.00 to 2.00) |  |  |",
		"| page request, not cached, 11.0 records to replay | us: p50 110 (60 to 160), p99 140 (90 to 190); 1.00 layers read |  |  | p99 under 1,000 us: yes |  |",
		"| page request, p50 on 50 MB of layers beside 5 MB |  |  | cached 1.05 (1.00 to 1.10), not cached 1.40 (1.20 to 1.60) | at most 1.3: **no** |  |",
		"| redo in memory, one core, heap and B-tree | 1900000 records a second of processor time, 0.000 allocations each, of 5 records | about 30000/s (Neon's redo helper, published) | 63 | 2,000,000/s, no allocation: **no** |  |",
		"| layers when all but a window of 10s has been collected, 70 MB before | 31 MB | 39 MB of databases, 1.0 MB of the window's WAL | 0.78 | at most 1.0: yes |  |",
		"| memory of the process | 400 MiB at most |  |  | at most 512 MiB (--memory): yes |  |",
	} {
		require.Contains(t, out.String(), line)
	}
}
