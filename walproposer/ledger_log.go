package walproposer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// What Status says about waits that are cancelled, the latter with the reason.
const (
	cancelledSeen    = "seen"
	cancelledNotSeen = "not seen: "
)

// WaitsNotSeen is the reason in a Status' CancelledWaits, "" where they are seen or
// nothing is known.
func WaitsNotSeen(cancelledWaits string) string {
	reason, ok := strings.CutPrefix(cancelledWaits, cancelledNotSeen)
	if !ok {
		return ""
	}
	return reason
}

// keepLog records the waits that were cancelled since the last look, and the settings that
// did not make commits wait, according to PostgreSQL's log. Where that cannot be read it
// says so once, and nothing ends.
func (s *session) keepLog(ctx context.Context, c *replication.Client, row replication.Row) {
	now, quorum := time.Now().UTC(), max(s.state.status().CommitLSN, s.confirmed)
	err := errNoLog
	if src := s.logSource(c, row); src != nil {
		err = s.serverLog.look(ctx, src)
	}
	blind := unreadable(row)
	if err != nil {
		blind = logFailure(err)
	} else {
		s.serverLog.judge(row, s.ledger.covers(s.serverLog.good))
	}
	if failed := s.recordFound(ctx, c, now); failed != nil {
		s.logger.Error("cannot record that commits did not wait for the quorum", "cancelled", s.serverLog.found, "settings", s.serverLog.was, "err", failed)
	} else if err == nil && !s.serverLog.behind {
		s.serverLog.from, s.serverLog.good = quorum, now
	}
	if errors.Is(err, context.Canceled) {
		return // the session ends
	}
	if s.state.cancelled(blind, s.serverLog.unread()) && blind != "" {
		s.logger.Warn("waits for the quorum that are cancelled are not seen", "reason", blind)
	}
}

// judge takes the changes that were read, after a look that said row.
func (l *serverLog) judge(row replication.Row, covered bool) {
	standbys := standbysOf(row)
	for _, c := range l.changes {
		l.lapses.line(c, l.standbys, standbys)
	}
	l.changes, l.standbys = nil, standbys
	l.was = together(l.was, l.lapses.looked(row, covered, l.behind))
}

// errNoLog says that nobody knows where PostgreSQL's log is.
var errNoLog = errors.New("PostgreSQL has no logging collector, and no --postgres-log is given")

// logSource is where PostgreSQL's log is to be read, nil when it is not known.
func (s *session) logSource(c *replication.Client, row replication.Row) logSource {
	switch {
	case row["logging_collector"] == "on":
		return collectorLog{c}
	case s.o.PostgresLog != "":
		return localLog{s.o.PostgresLog}
	}
	return nil
}

// recordFound brings what was found to the ledger; after an error the next look does.
func (s *session) recordFound(ctx context.Context, c *replication.Client, now time.Time) error {
	l := s.serverLog
	if l.found == 0 && len(l.was) == 0 {
		return nil
	}
	row, err := one(ctx, c, "SELECT pg_current_wal_insert_lsn() AS insert_lsn WHERE NOT pg_is_in_recovery()")
	if err != nil {
		return err
	}
	server, err := row.LSN("insert_lsn")
	if err != nil {
		return err
	}
	if l.found > 0 {
		i, began, err := s.ledger.cancelled(now, l.good, l.found, l.from, server)
		if err != nil {
			return err
		}
		if began {
			s.metrics.unprotectedTotal.Inc()
		}
		s.logger.Warn("waits for the quorum were cancelled", "waits", l.found, "from", i.From, "to", i.To)
		l.found = 0
	}
	if len(l.was) > 0 {
		if err := s.recordPast(Interval{Reason: lapseReason(l.was), After: l.good, Began: now, From: l.from, To: server}); err != nil {
			return err
		}
		l.was = nil
	}
	return nil
}

// recordPast records an interval that was over when it was noticed.
func (s *session) recordPast(i Interval) error {
	i, err := s.ledger.past(i)
	if err != nil {
		return err
	}
	s.metrics.unprotectedTotal.Inc()
	s.logger.Warn("commits did not wait for the quorum", "reason", i.Reason, "from", i.From, "to", i.To)
	return nil
}

// englishDesc is what pg_settings says of fsync where messages are not translated. It
// is a message like those in the log, and lc_messages alone does not tell: a server may
// have no translations, or have taken the language from its environment.
const englishDesc = "Forces synchronization of updates to disk."

// logsSettings is in the reason why waits are not seen where changed settings are.
const logsSettings = "does not log waits"

// SettingsNotSeen says of a Status' CancelledWaits that settings that are changed and taken
// back between two looks are not seen, either.
func SettingsNotSeen(cancelledWaits string) bool {
	why := WaitsNotSeen(cancelledWaits)
	return why != "" && !strings.Contains(why, logsSettings)
}

// unreadable says why PostgreSQL's log does not tell of each wait that is cancelled, or of
// settings, either; "" if it does.
func unreadable(row replication.Row) string {
	switch level := row["log_min_messages"]; {
	case level == "error" || level == "log" || level == "fatal" || level == "panic":
		text := "log_min_messages is " + level + ": PostgreSQL "
		if level == "error" || level == "log" { // LOG ranks above error there
			text += logsSettings
		} else {
			text += "logs neither"
		}
		return text + "; set it to warning and reload"
	case row["short_desc"] != englishDesc:
		return "lc_messages is '" + row["lc_messages"] + "': only English messages are understood; set it to C and reload"
	}
	return ""
}

// logFailure is why the log could not be read, with the way out where it is known.
func logFailure(err error) string {
	const insufficientPrivilege = "42501"
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == insufficientPrivilege {
		return e.Message + "; PostgreSQL's log needs pg_monitor and GRANT EXECUTE ON FUNCTION pg_current_logfile(), pg_read_binary_file(text, bigint, bigint, boolean)"
	}
	return err.Error()
}

// cancelled records that n waits were cancelled between two looks, durably: from is
// where the quorum's WAL ended at after, the look before, to where the server's does
// now. Looks with such waits that follow each other make one interval, so that clients that cancel all
// the time do not fill the ledger; began says that it is a new one.
func (l *ledger) cancelled(now, after time.Time, n int, from, to wal.LSN) (i Interval, began bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.loadLocked(); err != nil {
		return i, false, err
	}
	joined, waits := l.joined, l.waits+n
	if began = joined == nil || joined.Ended.Before(after); began {
		joined, waits = &Interval{Began: l.unusedLocked(now), After: after, From: from}, n
	}
	i = *joined
	i.Ended, i.To, i.Reason = now, max(i.To, to), cancelledReason(waits)
	if err := l.append(line{"cancelled", i}); err != nil {
		return i, false, err
	}
	l.joined, l.waits = &i, waits
	l.knowLocked(i)
	return i, began, nil
}

// unusedLocked is a time that no interval began at: an interval is known by it.
func (l *ledger) unusedLocked(at time.Time) time.Time {
	for slices.ContainsFunc(l.all, func(i Interval) bool { return i.Began.Equal(at) }) {
		at = at.Add(1)
	}
	return at
}

// past records an interval that was over when it was noticed, at Began, durably, and
// returns it as it is recorded.
func (l *ledger) past(i Interval) (Interval, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.loadLocked(); err != nil {
		return i, err
	}
	i.Ended = i.Began.UTC()
	i.Began = l.unusedLocked(i.Ended)
	if err := l.append(line{"past", i}); err != nil {
		return i, err
	}
	l.knowLocked(i)
	return i, nil
}

// covers says that an interval goes on that began before a time, or may have.
func (l *ledger) covers(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open != nil && !l.open.After.After(since)
}

// lastGood is the last look at which all was well, zero when there was none.
func (l *ledger) lastGood() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good
}

// cancelledEnd ends the reason of an interval of cancelled waits.
const cancelledEnd = " cancelled, according to PostgreSQL's log"

func cancelledReason(n int) string {
	waits := "waits for the quorum were"
	if n == 1 {
		waits = "wait for the quorum was"
	}
	return fmt.Sprintf("%d %s%s", n, waits, cancelledEnd)
}

// OfCancelledWaits says whether an interval is of commits whose wait was cancelled.
func OfCancelledWaits(i Interval) bool { return strings.HasSuffix(i.Reason, cancelledEnd) }
