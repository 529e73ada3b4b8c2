package safekeeper

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// TestWhoSettles goes through what keeps a member from running the headless
// proposer. A live or starting writer must never be deposed by it.
func TestWhoSettles(t *testing.T) {
	const after = 5 * time.Second
	// Members 1, 2 and 3; a writer of term 1 died a minute ago, 1 and 2 hold WAL up
	// to 900, and none of them knows more than 500 to be committed.
	status := func(id pushwal.NodeID, flush, commit wal.LSN) replication.Status {
		s := replication.Status{
			NodeID: id, Incarnation: pushwal.Incarnation{byte(id)}, SystemID: 7, PGVersion: 170000, SegmentSize: 1 << 20,
			Start: 100, Term: 1, History: pushwal.TermHistory{{Term: 0, LSN: 100}, {Term: 1, LSN: 100}},
			FlushLSN: flush, CommitLSN: commit, TLIHistory: wal.TimelineHistory{Last: 1},
			WriterAge: time.Minute, CandidateAge: -1, HeadlessAge: -1, Up: time.Hour,
		}
		s.Configuration.Generation = 1
		for i := range pushwal.NodeID(3) {
			s.Configuration.Members = append(s.Configuration.Members, pushwal.Member{ID: i + 1, Incarnation: pushwal.Incarnation{byte(i + 1)}})
		}
		return s
	}
	for name, tc := range map[string]struct {
		edit func(s *situation)
		want string // "" = it runs
	}{
		"nobody writes": {func(*situation) {}, ""},
		"a minority is enough to be asked, a majority has to answer": {func(s *situation) {
			s.peers[1].err = errUnknownThere
		}, ""},
		"alone": {func(s *situation) { s.peers[0].err, s.peers[1].err = errUnknownThere, errUnknownThere }, "no majority"},
		"off":   {func(s *situation) { s.after = 0 }, "switched off"},

		"a writer wrote here":     {func(s *situation) { s.own.WriterAge = 4 * time.Second }, "writer may be alive"},
		"a writer wrote there":    {func(s *situation) { s.peers[1].status.WriterAge = 4 * time.Second }, "writer may be alive"},
		"a member that restarted": {func(s *situation) { s.peers[0].status.WriterAge, s.peers[0].status.Up = -1, time.Second }, "writer may be alive"},
		"which is up for long":    {func(s *situation) { s.peers[0].status.WriterAge, s.peers[0].status.Up = -1, time.Minute }, ""},
		"an old safekeeper":       {func(s *situation) { s.peers[0].status.WriterAge, s.peers[0].status.Up = -1, 0 }, "writer may be alive"},
		"one asks for votes":      {func(s *situation) { s.own.CandidateAge = 50 * time.Second }, "starting"},
		"one asks there":          {func(s *situation) { s.peers[1].status.CandidateAge = 0 }, "starting"},
		"one hangs":               {func(s *situation) { s.peers[1].status.CandidateAge = 2 * time.Minute }, ""},
		"another settles":         {func(s *situation) { s.peers[0].status.HeadlessAge = time.Second }, "under way"},

		"all is committed": {func(s *situation) { s.peers[0].status.CommitLSN = 900 }, "nothing is open"},
		"a vote bars learning": {func(s *situation) {
			s.peers[0].status.CommitLSN, s.peers[1].status.Term = 900, 4
		}, ""},
		"an empty timeline": {func(s *situation) {
			for _, m := range []*replication.Status{&s.own, &s.peers[0].status, &s.peers[1].status} {
				m.FlushLSN, m.CommitLSN, m.Term, m.History = 100, 100, 0, m.History[:1]
			}
		}, "nothing is open"},

		"a higher member leaves it to the lower": {func(s *situation) {
			s.own, s.peers[0].status = s.peers[0].status, s.own
			s.own.WriterAge, s.peers[0].status.WriterAge = 12*time.Second, 12*time.Second
			s.peers[1].status.WriterAge = 12 * time.Second
		}, "writer may be alive"},
		"unless that one is dead": {func(s *situation) {
			s.own, s.peers[0].status = s.peers[0].status, s.own
			s.own.WriterAge, s.peers[1].status.WriterAge = 12*time.Second, 12*time.Second
			s.peers[0].err = errUnknownThere
		}, ""},
		"or does not do it": {func(s *situation) {
			s.own, s.peers[0].status = s.peers[0].status, s.own
		}, ""},
		"joining":        {func(s *situation) { s.own.Joining = true }, "does not count"},
		"another member": {func(s *situation) { s.own.SystemID = 8 }, "system identifier"},
		"no membership":  {func(s *situation) { s.own.Configuration = pushwal.Configuration{} }, "no membership"},
	} {
		t.Run(name, func(t *testing.T) {
			s := situation{own: status(1, 900, 500), after: after, peers: []peer{
				{member: pushwal.Member{ID: 2}, status: status(2, 900, 400)},
				{member: pushwal.Member{ID: 3}, status: status(3, 600, 500)},
			}}
			tc.edit(&s)
			v := s.judge()
			require.Equal(t, tc.want == "", v.run, v.reason)
			require.Contains(t, v.reason, tc.want)
		})
	}
}
