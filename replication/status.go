package replication

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Status is an acceptor's answer to TIMELINE_STATUS.
type Status struct {
	NodeID      pushwal.NodeID
	SystemID    wal.SystemID
	PGVersion   uint32
	SegmentSize wal.SegmentSize
	Start       wal.LSN // first record
	Oldest      wal.LSN // first byte that can be read
	// OldestRecord is the first record that begins behind Oldest; 0 = not known, or an
	// older safekeeper, which does not say.
	OldestRecord wal.LSN

	Incarnation   pushwal.Incarnation
	Joining       bool
	Configuration pushwal.Configuration

	Term        wal.Term
	LastLogTerm wal.Term
	History     pushwal.TermHistory // up to FlushLSN
	TLIHistory  wal.TimelineHistory

	FlushLSN            wal.LSN
	CommitLSN           wal.LSN
	TruncateLSN         wal.LSN
	RemoteConsistentLSN wal.LSN
	BackupLSN           wal.LSN

	// Writer is the instance of the server's proposer that wrote last; zero when none did
	// since the start of the safekeeper, or one of Neon's. WriterAge is how long
	// ago it was heard, negative = never.
	Writer    pushwal.Instance
	WriterAge time.Duration
	// CandidateAge is how long ago a server's proposer was heard that compares WAL
	// or asks for office, HeadlessAge a headless run; negative = there is none.
	CandidateAge, HeadlessAge time.Duration
	// Up is how long the safekeeper has had the timeline open: what it did not
	// hear before that it cannot know of. 0 = an older safekeeper, which does not say.
	Up time.Duration

	// HeadlessTerm is Term while the proposer that holds it is a headless run, which
	// this member follows; 0 = it is not, or that is not known since a restart. No
	// older proposer writes here any more, and a newer one has to win a term first.
	HeadlessTerm wal.Term

	// Of a local acceptor only, not among the columns.
	ID       wal.TTID
	Accepted consensus.AcceptedConfig
	// Proposed is the membership of the next generation that it has accepted without
	// knowing it to be in force; generation 0 = none.
	Proposed    pushwal.Configuration
	WriterHeard time.Time // zero = never
	Err         error     // why the acceptor refuses everything, or nil
}

// Status describes the acceptor.
func (a *Accepting) Status() Status {
	// Reads files, which nobody who writes should wait for.
	oldest, record := a.log.Oldest(), a.log.OldestRecord()
	a.mu.Lock()
	defer a.mu.Unlock()
	state := a.acceptor.State()
	s := Status{
		NodeID: a.node, SystemID: state.SystemID, PGVersion: state.PGVersion,
		SegmentSize: state.SegmentSize, Start: state.Start, Oldest: oldest, OldestRecord: record,
		Incarnation: state.Incarnation, Joining: a.acceptor.Joining(), Configuration: state.Configuration,
		Term: state.Term, LastLogTerm: a.acceptor.LastLogTerm(),
		History: a.acceptor.History(), TLIHistory: a.withReasons(state.TLIHistory),
		FlushLSN: a.acceptor.FlushLSN(), CommitLSN: state.CommitLSN, TruncateLSN: state.TruncateLSN,
		RemoteConsistentLSN: state.RemoteConsistentLSN, BackupLSN: state.BackupLSN,
		Writer: a.presence.writer, WriterAge: ageOf(a.presence.heard),
		CandidateAge: ageOf(a.candidate()), HeadlessAge: ageOf(a.presence.headless), Up: time.Since(a.presence.began),
		ID: state.ID, Accepted: state.Accepted, Proposed: state.Proposed, WriterHeard: a.presence.heard, Err: a.acceptor.Err(),
	}
	if instance, following := a.acceptor.Writer(); following && instance == pushwal.Headless {
		s.HeadlessTerm = state.Term
	}
	if a.closed != nil && s.Err == nil {
		s.Err = a.closed
	}
	return s
}

// Silence is how long no server's proposer has written here for certain.
func (s Status) Silence() time.Duration {
	if s.WriterAge >= 0 {
		return s.WriterAge
	}
	return s.Up
}

// CommittedHistory is TLIHistory without the timelines of which no byte is
// committed yet. Whoever takes over committed WAL takes this one.
func (s Status) CommittedHistory() wal.TimelineHistory {
	return committedHistory(s.TLIHistory, s.CommitLSN)
}

// Look is what the consensus judges of the status; peer is for the caller to know
// it by.
func (s Status) Look(peer int) consensus.Look {
	return consensus.Look{
		Peer: peer, Node: s.NodeID, Incarnation: s.Incarnation, Joining: s.Joining,
		SystemID: s.SystemID, PGVersion: s.PGVersion, SegmentSize: s.SegmentSize,
		Config: s.Configuration, Term: s.Term, History: s.History, TLIHistory: s.TLIHistory,
		FlushLSN: s.FlushLSN, CommitLSN: s.CommitLSN, TruncateLSN: s.TruncateLSN,
	}
}

// StatusColumns are the columns of TIMELINE_STATUS, in order. The first two are
// Neon's.
var StatusColumns = []string{
	"flush_lsn", "commit_lsn", "term", "last_log_term", "term_history", "node_id", "generation",
	"members", "incarnation", "joining", "system_id", "pg_version", "wal_segment_size", "tli",
	"tli_history", "start_lsn", "oldest_lsn", "writer", "writer_age_ms",
	"new_members", "incarnations", "truncate_lsn", "remote_consistent_lsn", "backup_lsn",
	"candidate_age_ms", "headless_age_ms", "up_ms", "headless_term", "new_incarnations",
	"oldest_record_lsn",
}

// Values are the columns' values as text, in the order of StatusColumns.
func (s Status) Values() []any {
	writer := ""
	if !s.Writer.IsZero() {
		writer = s.Writer.String()
	}
	joining := "f"
	if s.Joining {
		joining = "t"
	}
	number := func(v uint64) string { return strconv.FormatUint(v, 10) }
	return []any{
		s.FlushLSN.String(), s.CommitLSN.String(), number(uint64(s.Term)), number(uint64(s.LastLogTerm)),
		FormatTermHistory(s.History), number(uint64(s.NodeID)), number(uint64(s.Configuration.Generation)),
		FormatMembers(s.Configuration.Members), s.Incarnation.String(), joining,
		s.SystemID.String(), number(uint64(s.PGVersion)), number(uint64(s.SegmentSize)),
		number(uint64(s.TLIHistory.Last)), string(s.TLIHistory.Format()), s.Start.String(), s.Oldest.String(),
		writer, formatAge(s.WriterAge),
		FormatMembers(s.Configuration.NewMembers), FormatIncarnations(s.Configuration.Members), s.TruncateLSN.String(),
		s.RemoteConsistentLSN.String(), s.BackupLSN.String(),
		formatAge(s.CandidateAge), formatAge(s.HeadlessAge), formatAge(s.Up), number(uint64(s.HeadlessTerm)),
		FormatIncarnations(s.Configuration.NewMembers), s.OldestRecord.String(),
	}
}

// formatAge writes milliseconds, -1 for never.
func formatAge(d time.Duration) string {
	if d < 0 {
		return "-1"
	}
	return strconv.FormatInt(d.Milliseconds(), 10)
}

// ParseStatus reads a row of TIMELINE_STATUS, as from Query.
func ParseStatus(row Row) (Status, error) {
	p := rowParser{row: row}
	s := Status{
		NodeID:   pushwal.NodeID(p.uint("node_id", 64)),
		SystemID: wal.SystemID(p.uint("system_id", 64)), PGVersion: uint32(p.uint("pg_version", 32)),
		SegmentSize: wal.SegmentSize(p.uint("wal_segment_size", 32)),
		Start:       p.lsn("start_lsn"), Oldest: p.lsn("oldest_lsn"), Joining: p.bool("joining"),
		Term: wal.Term(p.uint("term", 64)), LastLogTerm: wal.Term(p.uint("last_log_term", 64)),
		FlushLSN: p.lsn("flush_lsn"), CommitLSN: p.lsn("commit_lsn"), TruncateLSN: p.lsn("truncate_lsn"),
		RemoteConsistentLSN: p.lsn("remote_consistent_lsn"), BackupLSN: p.lsn("backup_lsn"),
	}
	s.Configuration.Generation = pushwal.Generation(p.uint("generation", 32))
	tli := wal.TLI(p.uint("tli", 32))
	p.parse("incarnation", func(v string) (err error) { s.Incarnation, err = pushwal.ParseIncarnation(v); return })
	p.parse("term_history", func(v string) (err error) { s.History, err = ParseTermHistory(v); return })
	p.parse("tli_history", func(v string) (err error) {
		s.TLIHistory, err = wal.ParseTimelineHistory(tli, []byte(v))
		return
	})
	p.parse("members", func(v string) (err error) { s.Configuration.Members, err = ParseMembers(v); return })
	p.parse("new_members", func(v string) (err error) { s.Configuration.NewMembers, err = ParseMembers(v); return })
	p.parse("incarnations", func(v string) error { return SetIncarnations(s.Configuration.Members, v) })
	if _, ok := row["new_incarnations"]; ok { // older programs have no joint memberships
		p.parse("new_incarnations", func(v string) error { return SetIncarnations(s.Configuration.NewMembers, v) })
	}
	p.parse("writer", func(v string) (err error) {
		if v != "" {
			var i pushwal.Incarnation
			i, err = pushwal.ParseIncarnation(v)
			s.Writer = pushwal.Instance(i)
		}
		return
	})
	s.WriterAge = p.age("writer_age_ms")
	s.CandidateAge, s.HeadlessAge = p.newAge("candidate_age_ms", -1), p.newAge("headless_age_ms", -1)
	s.Up = p.newAge("up_ms", 0)
	if _, ok := row["oldest_record_lsn"]; ok {
		s.OldestRecord = p.lsn("oldest_record_lsn")
	}
	if _, ok := row["headless_term"]; ok {
		s.HeadlessTerm = wal.Term(p.uint("headless_term", 64))
	}
	if p.err != nil {
		return Status{}, fmt.Errorf("parse timeline status: %w", p.err)
	}
	return s, nil
}

// FormatTermHistory writes what ParseTermHistory reads: "term@LSN,term@LSN".
func FormatTermHistory(h pushwal.TermHistory) string {
	entries := make([]string, len(h))
	for i, e := range h {
		entries[i] = strconv.FormatUint(uint64(e.Term), 10) + "@" + e.LSN.String()
	}
	return strings.Join(entries, ",")
}

// ParseTermHistory reads the column term_history of TIMELINE_STATUS.
func ParseTermHistory(text string) (h pushwal.TermHistory, err error) {
	for entry := range splitList(text) {
		term, position, ok := strings.Cut(entry, "@")
		if !ok {
			return nil, fmt.Errorf("entry %q is not term@LSN", entry)
		}
		n, err := strconv.ParseUint(term, 10, 64)
		if err != nil {
			return nil, err
		}
		at, err := wal.ParseLSN(position)
		if err != nil {
			return nil, err
		}
		h = append(h, pushwal.TermLSN{Term: wal.Term(n), LSN: at})
	}
	if !h.Valid() {
		return nil, fmt.Errorf("%q is not in order", text)
	}
	return h, nil
}
