package walproposer

import (
	"encoding/json"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/replication"
)

func TestStatusIsOneJSONObject(t *testing.T) {
	health := daemon.NewHealth()
	s := newState(health)
	s.set(stateWaiting, "no majority")
	handler := (&Walproposer{runner: &sessions{state: s}}).Handler()
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest("GET", "/v1/status", nil))
	var got map[string]any
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &got))
	for _, key := range []string{"pid", "tap_pid", "push_pids", "term", "commit_lsn", "elected", "state", "since", "reason"} {
		require.Contains(t, got, key)
	}
	require.Equal(t, "waiting", got["state"])
	require.Equal(t, "no majority", got["reason"])
	require.Equal(t, "0/0", got["commit_lsn"])
	ready, checks := health.Status()
	require.False(t, ready)
	require.Equal(t, "quorum", checks[0].Name)
	require.Contains(t, checks[0].Reason, "no majority")

	answer = httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest("GET", "/v1/other", nil))
	require.Equal(t, 404, answer.Code)
}

func TestMetricsAreWellNamed(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	newMetrics(reg)
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestFindingsNameWhatIsWrong(t *testing.T) {
	well := replication.Row{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "names": "walhaven",
		"sessions": "1", "sync_state": "sync", "wal_status": "reserved",
	}
	require.Empty(t, findings(well, false))
	for column, bad := range map[string]string{
		"fsync": "off", "full_page_writes": "off", "synchronous_commit": "local", "names": "",
		"sessions": "2", "sync_state": "potential", "wal_status": "unreserved",
	} {
		row := replication.Row{}
		for k, v := range well {
			row[k] = v
		}
		row[column] = bad
		require.Len(t, findings(row, false), 1, column)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Postgres: "host=x", Safekeepers: []string{"a:1", "host=b port=2"}}
	o, err := good.withDefaults()
	require.NoError(t, err)
	require.Equal(t, DefaultSlot, o.Slot)
	require.False(t, o.Instance.IsZero())
	for _, bad := range []Options{
		{Safekeepers: []string{"a:1"}},
		{Postgres: "host=x"},
		{Postgres: "host=x", Safekeepers: []string{"a:1"}, Slot: "no'quotes"},
		{Postgres: "host=x", Safekeepers: []string{"nonsense"}},
	} {
		_, err := New(bad, Deps{})
		require.Error(t, err)
	}
	c, err := conninfoOf("[::1]:5454", "me", `pa'ss\word`)
	require.NoError(t, err)
	require.Equal(t, `host=::1 password='pa\'ss\\word' port=5454 user=me`, c)
}

func TestRefusalExplains(t *testing.T) {
	r := refuse("no").detail("because %d", 1).hint("do")
	require.Equal(t, r, judge(errors.Join(errors.New("other"), r)))
	detail, hint := r.Explain()
	require.Equal(t, "because 1", detail)
	require.Equal(t, "do", hint)
	require.Nil(t, judge(errors.New("passing")))
}
