package operator

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

// safe is a cluster of three that is well.
func safe() *Status {
	return &Status{
		Postgres:    PostgresStatus{Waits: true, StandbyNames: "walhaven"},
		Walproposer: WalproposerStatus{State: walproposerStreaming},
		Safekeepers: []SafekeeperStatus{{ID: 1}, {ID: 2}, {ID: 3}},
		Pageservers: []PageserverStatus{{ID: 1}},
	}
}

func TestTheWordSaysTheWorst(t *testing.T) {
	for name, c := range map[string]struct {
		harm     func(*Status)
		state    string
		severity int
	}{
		"well":                          {func(*Status) {}, StateSafe, NagiosOK},
		"one safekeeper down":           {func(s *Status) { s.Safekeepers[1].Error = "refused" }, StateSafeNoSpare, NagiosWarning},
		"one safekeeper joining":        {func(s *Status) { s.Safekeepers[1].Joining = true }, StateSafeNoSpare, NagiosWarning},
		"two members":                   {func(s *Status) { s.Safekeepers = s.Safekeepers[:2] }, StateSafeNoSpare, NagiosWarning},
		"a single member":               {func(s *Status) { s.Safekeepers = s.Safekeepers[:1] }, StateSafeNoSpare, NagiosWarning},
		"pageserver down":               {func(s *Status) { s.Pageservers[0].Error = "refused" }, StateSafe, NagiosWarning},
		"two safekeepers out":           {func(s *Status) { s.Safekeepers[0].Error, s.Safekeepers[2].Joining = "refused", true }, StateWaiting, NagiosCritical},
		"walproposer down":              {func(s *Status) { s.Walproposer.Error = "refused" }, StateWaiting, NagiosCritical},
		"walproposer campaigns":         {func(s *Status) { s.Walproposer.State = "campaigning" }, StateWaiting, NagiosCritical},
		"PostgreSQL down":               {func(s *Status) { s.Postgres.Error = "refused" }, StateWaiting, NagiosCritical},
		"PostgreSQL does not wait":      {func(s *Status) { s.Postgres.Waits, s.Postgres.StandbyNames = false, "" }, StateWaiting, NagiosCritical},
		"another standby is waited for": {func(s *Status) { s.Postgres.Waits, s.Postgres.StandbyNames = false, "other" }, StateWaiting, NagiosCritical},
	} {
		s := safe()
		c.harm(s)
		s.judge()
		require.Equal(t, c.state, s.State, name)
		require.Equal(t, c.severity, s.Severity(), name)
		require.NotEmpty(t, s.Reason, name)
		require.Equal(t, c.state != StateSafe, s.Hint != "", name)
	}
}

func TestCommitsWaitForTheWalproposer(t *testing.T) {
	for _, c := range []struct {
		names, level, state, others string
		waits                       bool
	}{
		{"walhaven", "on", "sync", "0", true},
		{"walhaven", "remote_apply", "sync", "0", true},
		{"walhaven", "remote_write", "sync", "0", true},
		{"walhaven", "local", "sync", "0", false},
		{"walhaven", "off", "sync", "0", false},
		{"", "on", "async", "0", false},
		{"walhaven", "on", "", "0", false},
		{"FIRST 1 (other, walhaven)", "on", "potential", "1", false},
		{"FIRST 2 (other, walhaven)", "on", "sync", "1", true},
		{"ANY 1 (other, walhaven)", "on", "quorum", "0", true},
		{"ANY 1 (other, walhaven)", "on", "quorum", "1", false},
		{"ANY 2 (other, walhaven)", "on", "quorum", "1", true},
		{"ANY 2 (other, walhaven)", "on", "quorum", "2", false},
	} {
		row := replication.Row{"names": c.names, "level": c.level, "sync_state": c.state, "others": c.others}
		require.Equal(t, c.waits, commitsWait(row), "%v", c)
	}
}
