package daemon

import (
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// version is set by the linker: -X .../internal/daemon.version=v0.1.0.
var version string

// Version returns the version of the running program: what the linker was told,
// else the module's version or the commit that it was built from, else "devel".
var Version = sync.OnceValue(func() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
})

// NewRegistry returns a registry with what every program exports: the Go
// runtime, the process, its build, and the state of its checks as
// walhaven_<program>_check_ok. health may be nil.
func NewRegistry(program string, health *Health) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "walhaven", Subsystem: program, Name: "build_info",
		Help:        "Always 1; the labels say which build this is.",
		ConstLabels: prometheus.Labels{"version": Version(), "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
	)
	if health != nil {
		registry.MustRegister(newHealthCollector(program, health))
	}
	return registry
}

// healthCollector exports the checks as they are when asked.
type healthCollector struct {
	health *Health
	check  *prometheus.Desc
}

func newHealthCollector(program string, health *Health) *healthCollector {
	return &healthCollector{
		health: health,
		check: prometheus.NewDesc(prometheus.BuildFQName("walhaven", program, "check_ok"),
			"Whether the check that /readyz shows under this name is well (1) or not (0).", []string{"check"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *healthCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.check }

// Collect implements prometheus.Collector.
func (c *healthCollector) Collect(ch chan<- prometheus.Metric) {
	_, checks := c.health.Status()
	seen := map[string]bool{} // Two checks of one name must not break the whole page.
	for _, status := range checks {
		if seen[status.Name] {
			continue
		}
		seen[status.Name] = true
		value := 0.0
		if status.OK {
			value = 1
		}
		ch <- prometheus.MustNewConstMetric(c.check, prometheus.GaugeValue, value, status.Name)
	}
}
