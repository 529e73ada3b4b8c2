package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/internal/conninfo"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/walproposer"
)

// oldPrimary is what is known of the server that is to be replaced.
type oldPrimary struct {
	conninfo string // of a superuser
	dataDir  string
	pid      int // on this machine; 0 = it runs elsewhere, or not
}

// oldConninfo is how the old primary is reached.
func (f *failover) oldConninfo() string {
	switch {
	case f.o.From != "":
		return f.o.From
	case f.Attached != nil:
		return f.Attached.Admin
	}
	return f.Postgres.Conninfo()
}

// errNotPrimary says that the old primary is not where it was: a server answers
// there that is another one.
var errNotPrimary = errors.New("another server answers")

// errItself says that the standby answers where the old primary should: by
// 127.0.0.1 or a socket the file, brought here, names another server than there.
var errItself = errors.New("the standby itself answers there")

// askOldPrimary looks whether a primary of the same cluster answers there.
func (f *failover) askOldPrimary(ctx context.Context) error {
	pg, err := connectAdmin(ctx, f.oldConninfo(), f.say)
	if err != nil {
		return err
	}
	defer pg.close()
	row, err := pg.one(ctx, "SELECT pg_is_in_recovery() AS standby, (SELECT system_identifier FROM pg_control_system()) AS id, "+
		"current_setting('data_directory', true) AS data_directory, extract(epoch FROM pg_postmaster_start_time()) AS started")
	if err != nil {
		return err
	}
	switch {
	case row["id"] != f.facts["system_identifier"]:
		return fmt.Errorf("%w there, of another cluster", errNotPrimary)
	case row["started"] == f.facts["started"] && row["data_directory"] == f.facts["data_directory"]:
		return errItself
	case row["standby"] == "t":
		return fmt.Errorf("%w there, a standby", errNotPrimary)
	}
	f.old = oldPrimary{conninfo: f.oldConninfo(), dataDir: row["data_directory"], pid: localPID(ctx, pg, row["data_directory"])}
	return nil
}

// localPID is the PID of the server that pg is connected to if it runs on this
// machine, else 0. Its data directory alone does not tell: on another machine it
// commonly has the name that the standby's has here.
func localPID(ctx context.Context, pg *pgAdmin, dataDir string) int {
	here, err := os.ReadFile(filepath.Join(dataDir, "postmaster.pid"))
	if err != nil {
		return 0
	}
	there, err := pg.one(ctx, "SELECT pg_read_file('postmaster.pid') AS content")
	if err != nil || there["content"] != string(here) {
		return 0
	}
	return postmaster.PID(dataDir)
}

// checkOldPrimary keeps a failover from a primary that is alive, unless it is
// meant: its clients would see their connections wait and break.
// One that answers otherwise than expected, refusing the password perhaps, lives.
func (f *failover) checkOldPrimary(ctx context.Context) error {
	if f.o.Yes {
		return nil
	}
	err := f.askOldPrimary(ctx)
	switch {
	case err == nil:
	case errors.Is(err, errNotPrimary), nobodyAnswers(err):
		f.say("The old primary does not answer: %v", err)
		return nil
	default:
		return program.Explain(fmt.Errorf("it is not certain that the old primary is dead, nothing was changed: %w", err), "Asked: "+f.askedWhere(),
			"Make sure that it is, and give --yes; nothing that it acknowledged is lost even if it is not.")
	}
	return program.Explain(errors.New("the old primary answers: nothing was changed"), "",
		"walhaven switchover stops it first and loses no transaction. To leave it behind as it is, give --yes; nothing that it acknowledged is lost.")
}

// nobodyAnswers says whether an error to connect means that there is no server:
// nothing, or a host without one, or one that hangs. A refusal, also one of TLS's,
// is an answer.
func nobodyAnswers(err error) bool {
	var answer *pgconn.PgError
	var network *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &answer):
		return false
	case pgconn.Timeout(err), errors.As(err, &name), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	}
	return errors.As(err, &network) && (network.Op == "dial" || network.Op == "read" || network.Op == "write")
}

// askedWhere is where the old primary was looked for, without a password.
func (f *failover) askedWhere() string {
	asked, err := conninfo.WithoutPassword(f.oldConninfo())
	if err != nil {
		return "what cannot be read"
	}
	return asked
}

// findOldPrimary needs it, and a way to stop it.
func (f *failover) findOldPrimary(ctx context.Context) error {
	if err := f.askOldPrimary(ctx); err != nil {
		return program.Explain(fmt.Errorf("the old primary: %w", err), "Asked: "+f.askedWhere(),
			"Name it with --from. If it is dead, walhaven failover does without it.")
	}
	if f.o.Stop == "" && f.old.pid == 0 {
		return program.WithExit(program.ExitUsage, program.Explain(errors.New("the old primary runs on another machine"), "",
			"Say how to stop it: --stop 'ssh db1 pg_ctlcluster 17 main stop'"))
	}
	return nil
}

// stopOldPrimary shuts it down. It ends when its walproposer has reported the
// shutdown checkpoint, so when the quorum has that.
func (f *failover) stopOldPrimary(ctx context.Context) error {
	within, cancel := f.within(ctx)
	defer cancel()
	f.decided = time.Now()
	if f.o.Stop != "" {
		f.say("+ %s", f.o.Stop)
		cmd := exec.CommandContext(within, "sh", "-c", f.o.Stop)
		cmd.Stdout, cmd.Stderr = f.out, f.out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("stop the old primary: %w", errors.Join(err, context.Cause(within)))
		}
		return f.awaitGone(within)
	}
	f.say("+ kill -INT %d  # fast shutdown of postgres -D %s", f.old.pid, f.old.dataDir)
	if err := syscall.Kill(f.old.pid, syscall.SIGINT); err != nil {
		return fmt.Errorf("stop the old primary: %w", err)
	}
	if err := poll(within, 10*time.Millisecond, func() (bool, error) { return !ProcessRuns(f.old.pid), nil }); err != nil {
		return fmt.Errorf("stop the old primary: %w", err)
	}
	return nil
}

// awaitGone waits until the old primary takes no connections; one that says that
// it shuts down is still there.
func (f *failover) awaitGone(ctx context.Context) error {
	err := poll(ctx, 100*time.Millisecond, func() (bool, error) {
		err := f.askOldPrimary(ctx)
		return errors.Is(err, errNotPrimary) || nobodyAnswers(err), nil
	})
	if err != nil {
		return fmt.Errorf("the old primary answers after it was stopped: %w", err)
	}
	return nil
}

// readAtOnce is how much WAL is fetched by one connection, in bytes.
const readAtOnce = 4 << 20

// checkShutdown makes sure that WAL ends with the old primary's shutdown
// checkpoint: then the old primary holds nothing that the quorum lacks.
func (f *failover) checkShutdown(ctx context.Context) error {
	within, cancel := f.within(ctx)
	defer cancel()
	view, err := f.awaitQuorum(within)
	if err != nil {
		return quorumLost(err)
	}
	last, err := f.lastRecord(within, view)
	if err != nil {
		return fmt.Errorf("read the end of WAL: %w", err)
	}
	f.say("  WAL ends with %s", last)
	if strings.HasPrefix(last, "CHECKPOINT_SHUTDOWN") {
		return nil
	}
	return program.Explain(errors.New("the old primary was not shut down in order, or its last WAL did not reach the quorum"),
		"Nothing was promoted, nothing acknowledged is lost. WAL ends with "+last+".",
		"Start the old primary again to leave things as they were, or go on without it: walhaven failover.")
}

// lastRecord names the record that WAL ends with. It reads from the start of the
// segment, the only page that is certain to be one: others may be the zeros behind
// XLOG_SWITCH.
func (f *failover) lastRecord(ctx context.Context, view quorumView) (string, error) {
	var best nodeView
	for _, n := range view.nodes {
		if n.status.CommitLSN >= f.end {
			best = n
		}
	}
	record := walrecord.Record{Major: int(best.status.PGVersion / 10000)}
	last := "nothing"
	at := view.size.SegmentStart(f.end - 1)
	r := walrecord.NewReader(walrecord.ScannerOptions{
		Start: at, SegmentSize: view.size, PGVersion: best.status.PGVersion, SystemID: best.status.SystemID,
	}, func(start, end wal.LSN, rec []byte) error {
		if err := walrecord.Decode(rec, start, end, &record); err != nil {
			return err
		}
		last = fmt.Sprintf("%s at %s", walrecord.Identify(&record), start)
		return nil
	})
	tli := best.status.TLIHistory.TLIAt(f.end - 1)
	content := make([]byte, readAtOnce)
	for at < f.end {
		part := wal.Range{Start: at, End: min(at+readAtOnce, f.end)}
		if err := f.fetch(ctx, view, tli, part, content); err != nil {
			return "", err
		}
		if err := r.Feed(at, content[:part.Len()]); err != nil {
			return "", err
		}
		at = part.End
	}
	return last, nil
}

// rejoin prepares the old primary's data directory to follow the safekeepers, if
// it is on this machine.
func (f *failover) rejoin(ctx context.Context) error {
	if f.old.pid == 0 {
		return nil
	}
	o, err := f.syncOptions()
	if err != nil {
		return err
	}
	f.say("+ walproposer check --pgdata %s --write-standby", f.old.dataDir)
	within, cancel := f.within(ctx)
	defer cancel()
	v, err := walproposer.Check(within, walproposer.CheckOptions{
		DataDir: f.old.dataDir, Slot: f.slot(), Safekeepers: o.Safekeepers, Tenant: f.Tenant, Timeline: f.Timeline.String(),
	})
	switch {
	case errors.Is(err, pgdata.ErrRunning):
		f.say("  the old primary was started again; stop it, and run this before it is started")
		return nil
	case err != nil:
		f.say("  not prepared: %v", err)
		return nil
	case v.Action != walproposer.StartStandby:
		f.say("  %s: %s", v.Action, v.Reason)
		return nil
	}
	password := ""
	if f.PasswordFile != "" {
		if password, err = f.password(); err != nil {
			return err
		}
	}
	conninfo, err := walproposer.StandbyConninfo(f.safekeeperAddresses(), f.User, password, v.Timeline)
	if err == nil {
		err = walproposer.WriteStandby(f.old.dataDir, conninfo)
	}
	if err != nil {
		return fmt.Errorf("prepare the old primary as a standby: %w", err)
	}
	f.say("  %s can be started as a standby now. Drop its slot then, which would keep WAL there:\n"+
		"  psql -c \"SELECT pg_drop_replication_slot('%s')\"", f.old.dataDir, f.slot())
	return nil
}
