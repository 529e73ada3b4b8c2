package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/walproposer"
)

// A ledger of years is read as a whole: what is left out of it would be taken for
// commits that were safe.
func TestLongLedgerIsRead(t *testing.T) {
	long := make([]walproposer.Interval, 20_000)
	for i := range long {
		long[i] = walproposer.Interval{Reason: strings.Repeat("x", 100), Began: time.Unix(int64(i), 0).UTC(), From: 1}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(long) // The reader says what is missing.
	}))
	defer server.Close()
	c := &Cluster{Walproposer: Walproposer{HTTP: strings.TrimPrefix(server.URL, "http://")}}
	got, err := c.RPO(t.Context())
	require.NoError(t, err)
	require.Equal(t, long, got)
}

// The intervals are a majority's: of the members, or where the safekeepers know none, of
// the list.
func TestIntervalsOfAMajority(t *testing.T) {
	quiet := errors.New("says nothing")
	known := []walproposer.Interval{{Reason: "synchronous_commit is local", Began: time.Unix(7, 0).UTC(), From: 1}}
	listed := func(id pushwal.NodeID) nodeView {
		n := answerOf(id, 0x2000, 1, 2, 3)
		n.status.Configuration = pushwal.Configuration{}
		return n
	}
	member := func(id pushwal.NodeID) nodeView { return answerOf(id, 0x2000, 1, 2, 3) }
	for name, of := range map[string]func(pushwal.NodeID) nodeView{"members": member, "no membership": listed} {
		for answering := range 4 {
			v, err := viewOf([]nodeView{of(1), of(2), of(3)})
			require.NoError(t, err, name)
			list, err := v.intervals(func(n nodeView) ([]walproposer.Interval, error) {
				switch {
				case n.ID > answering:
					return nil, quiet
				case n.ID == 2:
					return known, nil
				}
				return nil, nil
			})
			if answering < 2 {
				require.ErrorIs(t, err, ErrNoQuorum, "%s, %d answer", name, answering)
				require.ErrorIs(t, err, quiet)
				continue
			}
			require.NoError(t, err, "%s, %d answer", name, answering)
			require.Equal(t, known, list)
		}
	}
}

func TestIntervalsForPrograms(t *testing.T) {
	for lines, want := range map[bool]string{false: "[]\n", true: ""} {
		var out bytes.Buffer
		require.NoError(t, WriteRPOJSON(&out, nil, lines))
		require.Equal(t, want, out.String())
	}
	two := []walproposer.Interval{{Reason: "a", From: 1}, {Reason: "b", From: 2}}
	var out bytes.Buffer
	require.NoError(t, WriteRPOJSON(&out, two, true))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[1], `"b"`)
	out.Reset()
	require.NoError(t, WriteRPOJSON(&out, two, false))
	var again []walproposer.Interval
	require.NoError(t, json.Unmarshal(out.Bytes(), &again))
	require.Equal(t, two, again)
}

// What people read says no more than whoever was asked can know: the safekeepers' copy
// does not tell whether anybody watched.
func TestIntervalsForPeople(t *testing.T) {
	one := []walproposer.Interval{{Reason: "synchronous_commit is local", Began: time.Unix(7, 0), Ended: time.Unix(9, 0), From: 1, To: 2}}
	const (
		waited  = "Commits have waited for the quorum whenever it was looked.\n"
		listed  = "synchronous_commit is local"
		unseen  = "Commits that are cancelled while they wait, and settings that are taken back between two looks, are not recorded: no file\n"
		told    = "The safekeepers were told of no time in which commits did not wait for the quorum.\n"
		unknown = "Not known from the safekeepers' copy: what began while no quorum was reached, and whether commits that are cancelled while they wait are seen.\n"
	)
	for name, c := range map[string]struct {
		ledger    Ledger
		says, not []string
	}{
		"nothing":                     {Ledger{CancelledWaits: "seen"}, []string{waited}, []string{unseen, unknown}},
		"nothing, and nobody watches": {Ledger{CancelledWaits: "not seen: no file"}, []string{waited, unseen}, []string{unknown}},
		"one":                         {Ledger{Intervals: one, CancelledWaits: "seen"}, []string{listed}, []string{waited, unknown}},
		"a copy of nothing":           {Ledger{Copy: true}, []string{told, unknown}, []string{waited}},
		"a copy of one":               {Ledger{Intervals: one, Copy: true}, []string{listed, unknown}, []string{waited, told}},
	} {
		var out bytes.Buffer
		require.NoError(t, WriteRPO(&out, c.ledger), name)
		for _, line := range c.says {
			require.Contains(t, out.String(), line, name)
		}
		for _, line := range c.not {
			require.NotContains(t, out.String(), line, name)
		}
	}
}
