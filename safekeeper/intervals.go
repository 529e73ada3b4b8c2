package safekeeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/replication"
)

// intervalSet is this member's copy of the ledger of one timeline: the times in
// which PostgreSQL did not wait for the quorum, so that they are known when the
// walproposer's machine is gone. The walproposer sees to it that a majority has all.
type intervalSet struct {
	mu   sync.Mutex
	list []replication.Interval // oldest first, at most replication.MaxIntervals
	save func([]replication.Interval) error
}

const (
	intervalsFile        = "walhaven.intervals"
	intervalsFileVersion = "version 1"
)

func (s *intervalSet) all() []replication.Interval {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

// record takes an interval, durably: a new one, or that one which is known is over.
// One that is known just so changes nothing, and neither does one that is older than
// all when there are as many as are kept.
func (s *intervalSet) record(i replication.Interval) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := replication.MergeIntervals(s.list, []replication.Interval{i})
	if slices.EqualFunc(next, s.list, replication.SameInterval) {
		return nil
	}
	if err := s.save(next); err != nil {
		return fmt.Errorf("persist interval: %w", err)
	}
	s.list = next
	return nil
}

// loadIntervals reads the intervals of the timeline in dir; a missing file means
// that there are none.
func loadIntervals(fs vfs.FS, dir string) ([]replication.Interval, error) {
	content, err := datadir.ReadSealed(fs, dir, intervalsFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		var out []replication.Interval
		if out, err = parseIntervals(content); err == nil {
			return out, nil
		}
	}
	return nil, fmt.Errorf("load intervals: %w", err)
}

// saveIntervals returns the function that makes intervals durable in dir.
func saveIntervals(fs vfs.FS, dir string) func([]replication.Interval) error {
	return func(list []replication.Interval) error {
		content, err := formatIntervals(list)
		if err != nil {
			return err
		}
		return datadir.WriteSealed(fs, dir, intervalsFile, content)
	}
}

func formatIntervals(list []replication.Interval) (string, error) {
	var b strings.Builder
	b.WriteString(intervalsFileVersion + "\n")
	for _, i := range list {
		text, err := json.Marshal(i)
		if err != nil {
			return "", err
		}
		b.Write(append(text, '\n'))
	}
	return b.String(), nil
}

func parseIntervals(content string) (out []replication.Interval, err error) {
	lines := strings.Split(strings.TrimSuffix(content, "\n"), "\n")
	if lines[0] != intervalsFileVersion {
		return nil, fmt.Errorf("unknown format %q of %s", lines[0], intervalsFile)
	}
	for _, line := range lines[1:] {
		var i replication.Interval
		if err := json.Unmarshal([]byte(line), &i); err != nil {
			return nil, fmt.Errorf("unexpected line %q in %s: %w", line, intervalsFile, err)
		}
		out = append(out, i)
	}
	return out, nil
}

// intervalCommands are those of the ledger's copy.
func (s *Server) intervalCommands() []admin.Command {
	return []admin.Command{
		{
			Name: "SHOW INTERVALS", Tag: "SHOW", Scope: admin.ScopeTimeline, Columns: admin.Text(replication.IntervalColumns...),
			Help: "When PostgreSQL did not wait for the quorum, as the walproposer has told this member; walhaven rpo asks a majority.",
			Handler: s.onTimeline(func(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
				for _, i := range t.intervals.all() {
					if err := emit(i.Values()...); err != nil {
						return err
					}
				}
				return nil
			}),
		},
		{
			Name: "RECORD INTERVAL", Tag: "RECORD INTERVAL", Scope: admin.ScopeTimeline, Changes: true,
			Options: []admin.Arg{
				{Name: "began", Help: "When it was noticed, RFC 3339: what the interval is known by."},
				{Name: "after", Optional: true, Help: "The last look before at which all was well."},
				{Name: "ended", Optional: true, Help: "When it was over."},
				{Name: "from_lsn", Kind: admin.KindLSN, Help: "Where the quorum's WAL ended when it was noticed."},
				{Name: "to_lsn", Kind: admin.KindLSN, Help: "Where the server's ended when it was over; 0/0 before."},
				{Name: "reason", Help: "Why PostgreSQL did not wait."},
			},
			Help: "Keep that PostgreSQL did not wait for the quorum for a time, durably. The walproposer says so.",
			Handler: s.onTimeline(func(_ context.Context, t *timeline, call *admin.Call, _ admin.Emit) error {
				// The walproposer's login need not have the right Admin.
				if err := mayWrite(call.Target.(*protocol.Session), "record an interval"); err != nil {
					return err
				}
				i, err := replication.ParseInterval(call.Options)
				if err != nil {
					return protocol.Errorf(protocol.CodeInvalidParameter, "RECORD INTERVAL: %w", err)
				}
				return t.intervals.record(i)
			}),
		},
	}
}
