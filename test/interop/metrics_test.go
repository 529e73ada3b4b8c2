package interop

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/test/cluster"
)

// metric is a row of docs/metrics.md.
type metric struct{ kind, labels string }

// metrics scrapes the three programs while everything that they export happens,
// lints the answers as Prometheus does, and compares them with the page for
// operators.
func metrics(t *testing.T, c *cluster.Cluster) {
	follow(t, c)
	for program, address := range map[string]string{
		"safekeeper": c.Safekeepers[0].HTTP, "pageserver": c.Pageservers[0].HTTP, "walproposer": c.Walproposer.HTTP,
	} {
		text := scrape(t, address)
		lintMetrics(t, program, text)
		exported, help := exportedMetrics(t, program, text)
		documented := documentedMetrics(t, program)
		require.Greater(t, len(exported), 10, program)
		for name, m := range exported {
			if documented[name] != m {
				t.Errorf("docs/metrics.md should have the row\n| `%s` | %s | %s | %s |", name, m.kind, m.labels, help[name])
			}
		}
		for name := range documented {
			if _, ok := exported[name]; !ok {
				t.Errorf("docs/metrics.md describes %s, which %s does not export", name, program)
			}
		}
	}
}

// follow gives the first safekeeper a slot, a receiver on it that stays for the
// test, and a command that fails; the pageserver the latter, too.
func follow(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	host, port, _ := strings.Cut(c.Safekeepers[0].PG, ":")
	run := func(program string, args ...string) *exec.Cmd {
		return tool(ctx, t, c, program, args...)
	}
	dir := computetest.TempDir(t)
	receiver := []string{"-h", host, "-p", port, "-U", c.User, "-D", dir, "-S", "metrics"}
	out, err := run("pg_receivewal", append(receiver, "--create-slot")...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := run("pg_receivewal", receiver...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // It was killed.
	})
	for _, address := range []string{c.Safekeepers[0].PG, c.Pageservers[0].PG} {
		host, port, _ := strings.Cut(address, ":")
		require.Error(t, run("psql", "-X", "-h", host, "-p", port, "-U", c.User, "-d", "postgres", "-c", "NONSENSE").Run())
	}
	c.Eventually("pg_receivewal is a sender's client", func() bool {
		return strings.Contains(scrape(t, c.Safekeepers[0].HTTP), "\nwalhaven_safekeeper_sender_lag_max_bytes{")
	})
}

func scrape(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close() //nolint:errcheck // Only read.
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", text)
	return string(text)
}

// lintMetrics applies Prometheus's rules, by its own program where there is one.
func lintMetrics(t *testing.T, program, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems, program)
	promtool := os.Getenv("PROMTOOL")
	if _, err := os.Stat(promtool); err != nil {
		t.Logf("%s: linted without promtool", program)
		return
	}
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Run(), "%s: %s", program, &out)
}

// exportedMetrics returns what belongs to walhaven in a scrape, and the help.
func exportedMetrics(t *testing.T, program, text string) (out map[string]metric, help map[string]string) {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	require.NoError(t, err)
	out, help = map[string]metric{}, map[string]string{}
	for name, family := range families {
		if !strings.HasPrefix(name, "walhaven_") {
			continue // The Go runtime's and the process's own.
		}
		require.True(t, strings.HasPrefix(name, "walhaven_"+program+"_"), name)
		var labels []string
		for _, pair := range family.Metric[0].Label {
			labels = append(labels, "`"+pair.GetName()+"`")
		}
		slices.Sort(labels)
		out[name] = metric{strings.ToLower(family.GetType().String()), strings.Join(labels, ", ")}
		help[name] = family.GetHelp()
	}
	return out, help
}

// documentedMetrics reads the rows of docs/metrics.md that begin with a metric
// of the program: name, type, labels, meaning.
func documentedMetrics(t *testing.T, program string) map[string]metric {
	t.Helper()
	out := map[string]metric{}
	row := regexp.MustCompile("(?m)^\\| `(walhaven_" + program + "_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\| [^|\n]+\\|$")
	for _, m := range row.FindAllStringSubmatch(string(read(t, "../../docs/metrics.md")), -1) {
		require.NotContains(t, out, m[1], "described twice")
		out[m[1]] = metric{m[2], strings.TrimSpace(m[3])}
	}
	return out
}
