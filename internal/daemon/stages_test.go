package daemon

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

func TestStagesAreOfTheHistograms(t *testing.T) {
	reg := prometheus.NewRegistry()
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x_seconds", Help: "x", Buckets: []float64{10e-6, 20e-6, 40e-6}})
	reg.MustRegister(h)
	handler := Stages(reg, []Stage{{Name: "x", Metric: "x_seconds", From: "one to the other"}, {Name: "y", Metric: "y_seconds"}})
	ask := func(query string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", "/debug/commits"+query, nil))
		return w
	}
	for range 90 {
		h.Observe(15e-6)
	}
	for range 10 {
		h.Observe(30e-6)
	}
	w := ask("?format=json")
	require.Equal(t, 200, w.Code)
	var got []stageTimes
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Len(t, got, 2)
	require.EqualValues(t, 100, got[0].Count)
	require.InDelta(t, 16.5, got[0].Mean, 0.01)
	require.InDelta(t, 10+10*50.0/90, got[0].P50, 0.01)
	require.InDelta(t, 20, got[0].P90, 0.01)
	require.InDelta(t, 20+20*0.9, got[0].P99, 0.01)
	require.Equal(t, []stageBucket{{Upto: 10, Count: 0}, {Upto: 20, Count: 90}, {Upto: 40, Count: 10}}, got[0].Buckets)
	require.Zero(t, got[1].Count, "a stage that nothing was measured of")

	require.Contains(t, ask("").Body.String(), "one to the other")
	for _, bad := range []string{"?seconds=0", "?seconds=61", "?seconds=x"} {
		require.Equal(t, 400, ask(bad).Code)
	}
}

func TestStagesOfAMoment(t *testing.T) {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x_seconds", Help: "x", Buckets: []float64{10e-6, 20e-6}})
	for range 100 {
		h.Observe(5e-6)
	}
	later := &countedOnce{Histogram: h}
	all := prometheus.NewRegistry()
	all.MustRegister(later)
	w := httptest.NewRecorder()
	Stages(all, []Stage{{Name: "x", Metric: "x_seconds"}}).ServeHTTP(w, httptest.NewRequest("GET", "/debug/commits?seconds=1&format=json", nil))
	var got []stageTimes
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.EqualValues(t, 1, got[0].Count)
	require.InDelta(t, 15, got[0].Mean, 0.01)
	require.Equal(t, []stageBucket{{Upto: 10}, {Upto: 20, Count: 1}}, got[0].Buckets)
}

// countedOnce is a histogram that counts something when it is looked at the second
// time.
type countedOnce struct {
	prometheus.Histogram
	looks int
}

func (c *countedOnce) Collect(ch chan<- prometheus.Metric) {
	if c.looks++; c.looks == 2 {
		c.Observe(15e-6)
	}
	c.Histogram.Collect(ch)
}
