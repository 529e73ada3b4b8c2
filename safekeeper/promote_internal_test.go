package safekeeper

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

// TestSafeToPromote goes through what makes a promotion lose acknowledged WAL.
func TestSafeToPromote(t *testing.T) {
	// A writer of term 1 died; member 3 was not there when a headless run of term 2
	// committed everything up to 900.
	status := func(id pushwal.NodeID) replication.Answer {
		s := replication.Status{
			NodeID: id, Incarnation: pushwal.Incarnation{byte(id)}, SystemID: 7, PGVersion: 170000, SegmentSize: 1 << 20,
			Start: 100, Term: 2, History: pushwal.TermHistory{{Term: 1, LSN: 100}, {Term: 2, LSN: 900}},
			FlushLSN: 900, CommitLSN: 900, TLIHistory: wal.TimelineHistory{Last: 1}, HeadlessTerm: 2,
			WriterAge: 2 * time.Second, CandidateAge: -1, HeadlessAge: time.Second, Up: time.Hour,
		}
		if id == 3 {
			s.Term, s.History, s.FlushLSN, s.CommitLSN, s.HeadlessTerm, s.HeadlessAge = 1, s.History[:1], 600, 500, 0, -1
		}
		s.Configuration.Generation = 1
		for i := range pushwal.NodeID(3) {
			s.Configuration.Members = append(s.Configuration.Members, pushwal.Member{ID: i + 1, Incarnation: pushwal.Incarnation{byte(i + 1)}})
		}
		return replication.Answer{Status: s}
	}
	for name, tc := range map[string]struct {
		edit func(all []replication.Answer, at *wal.LSN)
		want string // "" = safe
	}{
		"settled by a majority":  {func([]replication.Answer, *wal.LSN) {}, ""},
		"with WAL of its own":    {func(_ []replication.Answer, at *wal.LSN) { *at = 950 }, ""},
		"a standby behind":       {func(_ []replication.Answer, at *wal.LSN) { *at = 899 }, "lacks acknowledged WAL"},
		"the third does not say": {func(all []replication.Answer, _ *wal.LSN) { all[2].Err = errUnknownThere }, ""},
		"one alone": {func(all []replication.Answer, _ *wal.LSN) {
			all[1].Err, all[2].Err = errUnknownThere, errUnknownThere
		}, "no majority"},
		"a majority without the sync's": {func(all []replication.Answer, _ *wal.LSN) { all[1].Err = errUnknownThere }, "no sync"},
		"open": {func(all []replication.Answer, _ *wal.LSN) {
			all[0].CommitLSN, all[1].CommitLSN = 500, 500
		}, "committed up to"},
		"settled by a writer": {func(all []replication.Answer, _ *wal.LSN) {
			all[0].HeadlessTerm, all[1].HeadlessTerm = 0, 0
		}, "no sync"},
		"one of them restarted since": {func(all []replication.Answer, _ *wal.LSN) { all[1].HeadlessTerm = 0 }, "no sync"},
		"a newer term was voted for":  {func(all []replication.Answer, _ *wal.LSN) { all[2].Term = 3 }, "no sync"},
		"a member joins":              {func(all []replication.Answer, _ *wal.LSN) { all[1].Joining = true }, "no sync"},
		"a walproposer asks for votes": {func(all []replication.Answer, _ *wal.LSN) {
			all[1].CandidateAge = 100 * time.Millisecond
		}, "asks for the next term"},
		"it asked before the sync": {func(all []replication.Answer, _ *wal.LSN) { all[1].CandidateAge = 2 * time.Second }, ""},
		"of the third it is not known": {func(all []replication.Answer, _ *wal.LSN) {
			all[2].CandidateAge = 2 * time.Second
		}, "asks for the next term"},
	} {
		t.Run(name, func(t *testing.T) {
			all := []replication.Answer{status(1), status(2), status(3)}
			p := promotion{at: 900}
			tc.edit(all, &p.at)
			p.judge(headless.Evaluate(wal.TTID{}, all))
			require.Contains(t, p.reason, tc.want)
			require.Equal(t, tc.want == "", p.reason == "", p.reason)
			require.Equal(t, p.reason == "", p.hint == "")
		})
	}
}
