package walproposer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// standbysOf are the names of who else was connected for WAL at a look.
func standbysOf(row replication.Row) (names []string) {
	if err := json.Unmarshal([]byte(row["standbys"]), &names); err != nil {
		return nil // nobody: NULL
	}
	return names
}

// unattended says why commits return while the walproposer has no connection, with those
// standbys connected that are; "" if they wait for it.
func unattended(row replication.Row) string {
	list, err := syncrep.Parse(row["names"])
	if err != nil || list.WaitsFor(ApplicationName, true, standbysOf(row)) {
		return ""
	}
	return fmt.Sprintf("the walproposer had no connection, and with synchronous_standby_names = '%s' others can acknowledge in its place", row["names"])
}

// keepAbsence records, at a session's first look, that commits did not wait for the quorum
// before it: PostgreSQL goes on without the walproposer if enough others of its list are
// connected. After is the last look, zero in a new process.
func (s *session) keepAbsence(row replication.Row, after time.Time, server wal.LSN) {
	why := cmp.Or(s.ledger.alone, unattended(row))
	if why == "" || s.confirmed == 0 { // it never was connected
		return
	}
	if err := s.recordPast(Interval{Reason: why, After: after, Began: time.Now(), From: s.confirmed, To: server}); err != nil {
		s.logger.Error("cannot record that commits did not wait for the quorum", "reason", why, "err", err)
	}
}
