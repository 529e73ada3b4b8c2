package operator

import (
	"fmt"
	"time"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// Status is the answer of `walhaven status -o json`. Its field names are
// relied upon by programs: add, never rename.
type Status struct {
	State       string             `json:"state"` // SAFE, SAFE NO SPARE or WAITING
	Since       time.Time          `json:"since,omitzero"`
	Reason      string             `json:"reason,omitempty"`
	Hint        string             `json:"hint,omitempty"`
	CommitLSN   wal.LSN            `json:"commit_lsn"`
	Term        wal.Term           `json:"term"`
	Postgres    PostgresStatus     `json:"postgres"`
	Walproposer WalproposerStatus  `json:"walproposer"`
	Safekeepers []SafekeeperStatus `json:"safekeepers"`
	Pageservers []PageserverStatus `json:"pageservers"`
	TenantID    wal.TenantID       `json:"tenant_id"`
	TimelineID  wal.TimelineID     `json:"timeline_id"`
}

// The three words that open the table for people.
const (
	// StateSafe: commits are acknowledged and one more node may die.
	StateSafe = "SAFE"
	// StateSafeNoSpare: commits are acknowledged, by every node that is left.
	StateSafeNoSpare = "SAFE NO SPARE"
	// StateWaiting: commits wait, or PostgreSQL is not told to wait for them.
	StateWaiting = "WAITING"
)

// PostgresStatus is what is known of the server.
type PostgresStatus struct {
	Conninfo string `json:"conninfo"`
	PID      int    `json:"pid"`
	DataDir  string `json:"data_dir"`
	Version  string `json:"version"`
	// Waits says that commits wait until the walproposer reports them.
	Waits        bool   `json:"waits"`
	StandbyNames string `json:"synchronous_standby_names"`
	Error        string `json:"error,omitempty"`
}

// WalproposerStatus is what the walproposer says of itself.
type WalproposerStatus struct {
	HTTP      string    `json:"http"`
	PID       int       `json:"pid"`
	TapPID    int       `json:"tap_pid"`
	PushPIDs  []int     `json:"push_pids"`
	State     string    `json:"state,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Reason    string    `json:"reason,omitempty"`
	Term      wal.Term  `json:"term"`
	CommitLSN wal.LSN   `json:"commit_lsn"`
	// LiveSince is when the last safekeeper came, left or fell silent.
	LiveSince time.Time `json:"live_since,omitzero"`
	// CancelledWaits says whether commits that stop waiting for the quorum are seen in
	// PostgreSQL's log, as the walproposer's own status does.
	CancelledWaits string `json:"cancelled_waits,omitempty"`
	// RecentlyCancelled are the intervals of such commits that ended within the last day.
	RecentlyCancelled []walproposer.Interval `json:"recently_cancelled,omitempty"`
	Error             string                 `json:"error,omitempty"`
}

// SafekeeperStatus is what one safekeeper says of the timeline. LagBytes is
// the distance of its flush position from the cluster's commit position.
type SafekeeperStatus struct {
	ID        int      `json:"id"`
	PG        string   `json:"pg"`
	HTTP      string   `json:"http"`
	PID       int      `json:"pid"`
	DataDir   string   `json:"data_dir"`
	Term      wal.Term `json:"term"`
	FlushLSN  wal.LSN  `json:"flush_lsn"`
	CommitLSN wal.LSN  `json:"commit_lsn"`
	LagBytes  uint64   `json:"lag_bytes"`
	Joining   bool     `json:"joining"`
	Error     string   `json:"error,omitempty"`
}

// counts says whether this safekeeper can be one of a quorum now.
func (s SafekeeperStatus) counts() bool { return s.Error == "" && !s.Joining }

// PageserverStatus is what one pageserver says of the timeline.
type PageserverStatus struct {
	ID                int     `json:"id"`
	PG                string  `json:"pg"`
	HTTP              string  `json:"http"`
	PID               int     `json:"pid"`
	DataDir           string  `json:"data_dir"`
	LastRecordLSN     wal.LSN `json:"last_record_lsn"`
	DiskConsistentLSN wal.LSN `json:"disk_consistent_lsn"`
	LagBytes          uint64  `json:"lag_bytes"`
	LagSeconds        float64 `json:"lag_seconds"`
	Error             string  `json:"error,omitempty"`
}

// judge sets the state, its reason and the hint from the parts.
func (s *Status) judge() {
	alive := 0
	for _, sk := range s.Safekeepers {
		if sk.counts() {
			alive++
		}
	}
	quorum := len(s.Safekeepers)/2 + 1
	if s.Since = s.Walproposer.Since; s.Walproposer.LiveSince.After(s.Since) {
		s.Since = s.Walproposer.LiveSince
	}
	switch {
	case alive < quorum:
		s.State, s.Reason = StateWaiting, plural(alive, "safekeeper")+" of "+plural(len(s.Safekeepers), "safekeeper")+" can acknowledge, "+plural(quorum, "is", "are")+" needed"
		s.Hint = "Commits wait and return as soon as one more safekeeper is back. Start the ones marked with an error below."
	case s.Walproposer.Error != "":
		s.State, s.Reason = StateWaiting, "the walproposer does not answer: "+s.Walproposer.Error
		s.Hint = "Start it again with: walhaven up"
	case s.Walproposer.State != walproposerStreaming:
		s.State, s.Reason = StateWaiting, "the walproposer is "+s.Walproposer.State+": "+s.Walproposer.Reason
		s.Hint = "Its log tells more; /readyz on " + s.Walproposer.HTTP + " lists what is missing."
	case s.Postgres.Error != "":
		s.State, s.Reason = StateWaiting, "PostgreSQL does not answer: "+s.Postgres.Error
		s.Hint = "What was acknowledged is safe. Start the server again with: walhaven up"
	case !s.Postgres.Waits:
		s.State, s.Reason = StateWaiting, fmt.Sprintf("for PostgreSQL to be told: its commits do not wait for the quorum (synchronous_standby_names is '%s')", s.Postgres.StandbyNames)
		s.Hint = "Commits return at once and can be lost. Set synchronous_standby_names = 'walhaven' and synchronous_commit = on, and reload."
	case alive < len(s.Safekeepers):
		s.State, s.Reason = StateSafeNoSpare, plural(len(s.Safekeepers)-alive, "safekeeper")+" of "+plural(len(s.Safekeepers), "safekeeper")+" missing"
		s.Hint = "Bring the missing safekeeper back: the loss of another one would make commits wait."
	case alive == quorum:
		s.State, s.Reason = StateSafeNoSpare, "every safekeeper acknowledges, and "+plural(quorum, "is", "are")+" needed of "+plural(len(s.Safekeepers), "safekeeper")
		s.Hint = "The loss of one would make commits wait, and with a single one its disk is all there is. Add safekeepers: walhaven member add. With three, one may die."
	default:
		s.State, s.Reason = StateSafe, "every safekeeper acknowledges"
	}
}

// walproposerStreaming is the walproposer's word for "commits are being
// acknowledged".
const walproposerStreaming = "streaming"
