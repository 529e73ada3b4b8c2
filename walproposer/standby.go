package walproposer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/wal"
)

// StandbyConninfo is the primary_conninfo of a standby that follows a timeline
// on these safekeepers, whichever of them answers. Safekeepers that are given as
// connection strings have no common form: the first one is taken.
func StandbyConninfo(safekeepers []string, user, password string, id wal.TTID) (string, error) {
	options := fmt.Sprintf(" options='-c tenant_id=%s -c timeline_id=%s'", id.Tenant, id.Timeline)
	var hosts, ports []string
	for _, s := range safekeepers {
		one, err := conninfoOf(s, user, password)
		if err != nil {
			return "", err
		}
		if one == s {
			return s + options, nil
		}
		c, err := pgconn.ParseConfig(one)
		if err != nil {
			return "", fmt.Errorf("safekeeper %q: %w", s, err)
		}
		hosts, ports = append(hosts, c.Host), append(ports, fmt.Sprint(c.Port))
	}
	out := "host=" + conninfo.Quote(strings.Join(hosts, ",")) + " port=" + conninfo.Quote(strings.Join(ports, ","))
	if user != "" {
		out += " user=" + conninfo.Quote(user)
	}
	if password != "" {
		out += " password=" + conninfo.Quote(password)
	}
	return out + " tcp_user_timeout=" + standbyTCPTimeout + options, nil
}

// standbyTCPTimeout is how many milliseconds a standby tries one safekeeper before
// it turns to the next. Without it that is the kernel's to say, about two minutes,
// where a machine is gone and nobody refuses: libpq's connect_timeout means nothing
// to a walreceiver, and wal_receiver_timeout begins behind the connection.
const standbyTCPTimeout = "5000"

// WriteStandby makes a stopped data directory that of a standby: standby.signal,
// and primary_conninfo and recovery_target_timeline in postgresql.auto.conf, which
// keeps its other settings. The files belong to the owner of the directory.
func WriteStandby(dataDir, conninfo string) error {
	path := filepath.Join(dataDir, "postgresql.auto.conf")
	conf, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read settings: %w", err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(conf)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch strings.TrimSpace(name) {
		case "primary_conninfo", "recovery_target_timeline", "primary_slot_name":
		default:
			b.WriteString(strings.TrimRight(line, "\n") + "\n")
		}
	}
	fmt.Fprintf(&b, "primary_conninfo = '%s'\nrecovery_target_timeline = 'latest'\n",
		strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(conninfo))
	if err := durablefile.ReplaceForOwner(path, []byte(b.String())); err != nil {
		return err
	}
	return durablefile.ReplaceForOwner(filepath.Join(dataDir, "standby.signal"), nil)
}
