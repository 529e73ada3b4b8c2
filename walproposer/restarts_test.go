package walproposer

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
)

func TestRestartsBackOffAndAreReported(t *testing.T) {
	var r restarts
	now := time.Unix(1000, 0)
	want := restartFirst
	for n := 1; n <= 12; n++ {
		pause, often := r.died(now, time.Millisecond)
		require.Equal(t, want, pause)
		want = min(2*want, restartLast)
		require.Equal(t, n >= oftenIs, often, n)
	}
	require.True(t, r.often(now))
	require.False(t, r.often(now.Add(oftenWithin+time.Second)), "they are forgotten after a minute")
	pause, often := r.died(now.Add(2*oftenWithin), restartLast)
	require.Equal(t, restartFirst, pause, "who lived long begins anew")
	require.False(t, often)
}

// Whatever is added to Options has to reach the tap.
func TestOptionsTravelWhole(t *testing.T) {
	var o Options
	fill(t, reflect.ValueOf(&o).Elem(), 1)
	b, err := json.Marshal(order{Start: &startOrder{Options: &o, Peer: 3}})
	require.NoError(t, err)
	var got order
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, o, *got.Start.Options)
}

func fill(t *testing.T, v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), n+i)
		}
	case reflect.String:
		v.SetString(strings.Repeat("s", n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(n))
	case reflect.Uint8:
		v.SetUint(uint64(n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), n+i)
		}
	default:
		t.Fatalf("a field of kind %s: teach fill", v.Kind())
	}
}

func TestCountsOfTheDeadStay(t *testing.T) {
	read := func(f func(m *metrics)) []sample {
		reg := prometheus.NewPedanticRegistry()
		m := newMetrics(reg)
		f(m)
		return samplesOf(reg)
	}
	all := newTally()
	all.heard(1, read(func(m *metrics) {
		m.pushed.Add(100)
		m.queueWait.Observe(0.001)
		m.slotRoom.Set(7)
	}))
	all.heard(2, read(func(m *metrics) {
		m.pushed.Add(20)
		m.queueWait.Observe(10)
	}))
	all.gone(2)
	all.gone(3)
	all.heard(4, read(func(m *metrics) { m.pushed.Add(3) }))
	all.gone(4)
	got := map[string]sample{}
	for _, s := range all.total() {
		got[s.Name] = s
		_, err := s.metric()
		require.NoError(t, err)
	}
	require.InDelta(t, 123, float64(got["walhaven_walproposer_pushed_bytes_total"].Value), 1e-9)
	require.InDelta(t, 7, float64(got["walhaven_walproposer_slot_headroom_bytes"].Value), 1e-9)
	h := got["walhaven_walproposer_queue_wait_seconds"]
	require.EqualValues(t, 2, h.Count)
	require.InDelta(t, 10.001, float64(h.Sum), 1e-9)
	require.EqualValues(t, 2, h.Buckets[len(h.Buckets)-1].Count)
}

func TestNumbersThatJSONLacksTravel(t *testing.T) {
	for _, v := range []float64{math.Inf(1), math.Inf(-1), math.NaN(), 0, 0.1} {
		b, err := json.Marshal(sample{Value: number(v)})
		require.NoError(t, err)
		var s sample
		require.NoError(t, json.Unmarshal(b, &s))
		require.Equal(t, math.Float64bits(v), math.Float64bits(float64(s.Value)))
	}
}

func TestChildrenStartedAgainDoNotDieTheSameWay(t *testing.T) {
	env := []string{"A=1", failpoints + "x@1=kill", "B=2"}
	require.Equal(t, env, childEnvironment(env, true))
	if invariant.Enabled {
		require.Equal(t, []string{"A=1", "B=2"}, childEnvironment(env, false))
	}
}
