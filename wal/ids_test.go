package wal

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSystemID(t *testing.T) {
	id, err := ParseSystemID("7400000000000000001")
	require.NoError(t, err)
	require.Equal(t, "7400000000000000001", id.String())
	require.Equal(t, "000000000000000066b215d5f2718001"[:16], id.TenantID().String()[:16], "the upper half is zero")
	require.Equal(t, "0000000000000000ffffffffffffffff", SystemID(1<<64-1).TenantID().String())
	require.Equal(t, "00000000000000000123456789abcdef", SystemID(0x0123456789abcdef).TenantID().String())
	for _, s := range []string{"", "-1", "+1", "1.5", "0x10", "18446744073709551616", " 1"} {
		_, err := ParseSystemID(s)
		require.Error(t, err, "%q", s)
	}
}

func TestIDs(t *testing.T) {
	const text = "0123456789abcdef0123456789abcdef"
	tenant, err := ParseTenantID(strings.ToUpper(text))
	require.NoError(t, err)
	require.Equal(t, text, tenant.String())
	timeline, err := ParseTimelineID(text)
	require.NoError(t, err)
	require.Equal(t, text, timeline.String())
	require.False(t, tenant.IsZero() || timeline.IsZero())
	require.True(t, TenantID{}.IsZero() && TimelineID{}.IsZero())
	require.Equal(t, text+"/"+text, TTID{tenant, timeline}.String())

	for _, s := range []string{"", text[1:], text + "0", "g" + text[1:], " " + text[1:], text[:31] + "é"} {
		_, err := ParseTenantID(s)
		require.Error(t, err, "%q", s)
		_, err = ParseTimelineID(s)
		require.Error(t, err, "%q", s)
	}
}

func TestIDsInJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids struct {
			Tenant   TenantID
			Timeline TimelineID
		}
		copy(ids.Tenant[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "tenant"))
		copy(ids.Timeline[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "timeline"))
		b, err := json.Marshal(ids)
		require.NoError(t, err)
		back := ids
		back.Tenant, back.Timeline = TenantID{}, TimelineID{}
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, ids, back)
	})
	var tenant TenantID
	require.Error(t, json.Unmarshal([]byte(`"12"`), &tenant))
	var timeline TimelineID
	require.Error(t, json.Unmarshal([]byte(`"12"`), &timeline))
}

func TestTimestamp(t *testing.T) {
	require.Equal(t, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), Timestamp(0).Time())
	require.Equal(t, Timestamp(-1), TimestampOf(time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)))
	rapid.Check(t, func(t *rapid.T) {
		// The years of PostgreSQL's timestamps that time.Time can hold in
		// microseconds since 1970.
		ts := Timestamp(rapid.Int64Range(-211_813_488_000_000_000, 8_000_000_000_000_000_000).Draw(t, "ts"))
		require.Equal(t, ts, TimestampOf(ts.Time()))
		require.Equal(t, time.UTC, ts.Time().Location())
	})
}
