package failpoints

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// harness is one cluster under a writer whose processes are killed one after
// the other.
type harness struct {
	t     *testing.T // of the point at hand
	c     *cluster.Cluster
	w     *cluster.Writer
	slots int // made so far

	point   point          // at hand
	victims []string       // armed for it
	env     []string       // that arms them
	logs    map[string]int // lengths of their logs then

	followers sync.WaitGroup
	unfollow  context.CancelFunc // ends the present point's followers
}

// until polls cond.
func (h *harness) until(what string, cond func() bool) {
	h.t.Helper()
	deadline := time.NewTimer(cluster.Deadline)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			require.Fail(h.t, "waited too long", "%s", what)
		}
	}
}

// arm starts the victims so that the fail point acts on them.
func (h *harness) arm(p point, action string) {
	h.t.Helper()
	rule := fmt.Sprintf("%s@%d=%s", p.name, p.nth, action)
	if p.scene.rules != "" {
		rule = p.scene.rules + "," + rule
	}
	h.env = append([]string{failpoints(rule)}, p.scene.env...)
	h.point, h.victims = p, p.victims(h)
	for _, name := range h.victims {
		h.c.Kill(name)
		if p.scene.before != nil {
			p.scene.before(h, name)
		}
		h.logs[name] = len(h.log(name))
		h.start(name, h.env...)
		if p.scene.act != nil {
			h.awaitMember(name)
		}
	}
	// A new connection may have been enough.
	if _, dead := h.reached(); !dead && p.scene.act != nil {
		p.scene.act(h, h.victims[0])
	}
}

// start starts a daemon that is down. A walproposer does not wait until the one
// that was killed has been silent for long enough: there is no other.
func (h *harness) start(name string, env ...string) {
	h.t.Helper()
	if name == walproposer {
		env = append(env, "WALHAVEN_WALPROPOSER_TAKEOVER=true")
	}
	h.c.StartUnready(name, env...)
}

func (p point) victims(h *harness) []string {
	switch {
	case p.scene.victims != nil:
		return p.scene.victims(h)
	case p.program == walproposer:
		return []string{walproposer}
	}
	return []string{p.program + "-1"}
}

// log is what a daemon has logged.
func (h *harness) log(name string) []byte {
	h.t.Helper()
	text, err := os.ReadFile(h.c.LogFile(name))
	require.NoError(h.t, err)
	return text
}

// victim is a process that has come to the point.
type victim struct {
	name string // of its daemon
	pid  int    // the daemon's, or that of a process of its own
}

// reached says whether one of the victims was ended or stopped by the point.
func (h *harness) reached() (v victim, ok bool) {
	h.t.Helper()
	line := regexp.MustCompile(fmt.Sprintf(`fail point %s@%d: \w+ PID (\d+)\n`, h.point.name, h.point.nth))
	for _, name := range h.victims {
		if m := line.FindSubmatch(h.log(name)[h.logs[name]:]); m != nil {
			pid, err := strconv.Atoi(string(m[1]))
			require.NoError(h.t, err)
			return victim{name: name, pid: pid}, true
		}
	}
	return victim{}, false
}

// state is a process's, as in /proc/PID/stat behind the name in parentheses: T
// when it is stopped, Z when it has died, empty when nothing is left of it.
func (v victim) state() string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", v.pid))
	if err != nil {
		return ""
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return state[:1]
}

// target is a position that every copy must reach.
func (h *harness) target() wal.LSN {
	h.t.Helper()
	return h.lsn("SELECT pg_current_wal_flush_lsn()")
}

// reported is the position up to which PostgreSQL has been told that WAL is
// safe: commits below are acknowledged.
func (h *harness) reported() wal.LSN {
	h.t.Helper()
	return h.lsn("SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'walhaven'")
}

func (h *harness) lsn(sql string) wal.LSN {
	h.t.Helper()
	text, err := h.c.Server.QueryValue(context.Background(), sql)
	require.NoError(h.t, err)
	lsn, err := wal.ParseLSN(text)
	require.NoError(h.t, err)
	return lsn
}

// requireQuorumHas shows that a majority of the safekeepers has, on its disk,
// what PostgreSQL was told. A dead one is not counted.
func (h *harness) requireQuorumHas(reported wal.LSN) {
	h.t.Helper()
	var ends []wal.LSN
	for _, n := range h.c.Safekeepers {
		ends = append(ends, h.position(n.PG, "flush_lsn"))
	}
	slices.Sort(ends)
	require.GreaterOrEqual(h.t, ends[1], reported, "PostgreSQL was told of WAL that no majority of the safekeepers has; they end at %s", ends)
}

// awaitCopies waits until every copy has what PostgreSQL has now.
func (h *harness) awaitCopies() {
	h.t.Helper()
	target := h.target()
	for _, n := range h.c.Safekeepers {
		h.until(fmt.Sprintf("safekeeper %d has %s", n.ID, target), func() bool { return h.position(n.PG, "flush_lsn") >= target })
	}
	h.until("the pageserver has "+target.String(), func() bool {
		return h.position(h.c.Pageservers[0].PG, "disk_consistent_lsn") >= target
	})
}

// awaitMember waits until a daemon answers, or has come to the point.
func (h *harness) awaitMember(name string) {
	h.t.Helper()
	h.until(name+" answers", func() bool {
		if v, ok := h.reached(); ok && v.name == name {
			return true
		}
		switch {
		case name == walproposer:
			return h.c.CollectStatus(context.Background()).Walproposer.Error == ""
		case strings.HasPrefix(name, pageserver):
			return h.position(h.c.Pageservers[0].PG, "disk_consistent_lsn") != 0
		}
		return h.position(h.c.Safekeepers[h.id(name)-1].PG, "flush_lsn") != 0
	})
}

func (h *harness) id(name string) (id int) {
	h.t.Helper()
	_, err := fmt.Sscanf(name, "safekeeper-%d", &id)
	require.NoError(h.t, err)
	return id
}

func (h *harness) isFenced(name string) bool {
	node := h.c.Pageservers[0]
	if !strings.HasPrefix(name, pageserver) {
		node = h.c.Safekeepers[h.id(name)-1]
	}
	marks, err := filepath.Glob(filepath.Join(node.DataDir, h.c.Tenant.String(), h.c.Timeline.String(), "walhaven.fenced"))
	require.NoError(h.t, err)
	return len(marks) == 1
}

// position is a column of a node's status, 0 if it does not answer.
func (h *harness) position(address, column string) wal.LSN {
	h.t.Helper()
	rows, err := replication.Query(context.Background(), h.conninfo(address), "TIMELINE_STATUS", replication.DialOptions{})
	if err != nil || len(rows) != 1 {
		return 0
	}
	lsn, err := rows[0].LSN(column)
	require.NoError(h.t, err)
	return lsn
}

// conninfo is how the tests talk to a safekeeper or the pageserver.
func (h *harness) conninfo(address string) string {
	h.t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(h.t, err)
	password, err := os.ReadFile(h.c.PasswordFile)
	require.NoError(h.t, err)
	return fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=replication sslmode=disable",
		host, port, h.c.User, strings.TrimSpace(string(password)))
}

// activePusher is the safekeeper whose WAL the pageserver takes now.
func (h *harness) activePusher() (name string) {
	h.t.Helper()
	h.until("the pageserver has an active pusher", func() bool {
		name = h.pusherNow()
		return name != ""
	})
	return name
}

// pusherNow is empty while the pageserver has none, or does not answer.
func (h *harness) pusherNow() (name string) {
	rows, err := replication.Query(context.Background(), h.conninfo(h.c.Pageservers[0].PG), "SHOW RECEIVERS", replication.DialOptions{})
	if err != nil {
		return ""
	}
	for _, r := range rows {
		if r["active"] == "t" {
			name = "safekeeper-" + r["node_id"]
		}
	}
	return name
}

// createSlot asks for a new replication slot; the answer does not come from a
// safekeeper that dies.
func (h *harness) createSlot(name string) {
	h.t.Helper()
	h.slots++
	sql := fmt.Sprintf("CREATE_REPLICATION_SLOT slot_%d PHYSICAL", h.slots)
	o := replication.DialOptions{Params: map[string]string{"replication": "true"}}
	_, err := replication.Query(context.Background(), h.conninfo(h.c.Safekeepers[h.id(name)-1].PG), sql, o)
	require.Error(h.t, err, "a slot was made by a process that should have died")
}

// follow reads WAL from a safekeeper as a standby does until the point is done,
// confirms what it is asked about, and asks back.
func (h *harness) follow(name string) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h.unfollow = cancel
	at := wal.DefaultSegmentSize.SegmentStart(h.target())
	o := replication.DialOptions{Params: map[string]string{"replication": "true"}}
	stream, err := replication.Dial(ctx, h.conninfo(h.c.Safekeepers[h.id(name)-1].PG), "START_REPLICATION PHYSICAL "+at.String()+" TIMELINE 1", o)
	require.NoError(h.t, err)
	h.followers.Go(func() {
		defer stream.Close() //nolint:errcheck // Its end is what the test brings about.
		var data walstream.XLogData
		for {
			message, err := stream.Receive()
			if err != nil {
				return
			}
			if walstream.Kind(message) == walstream.KindXLogData && walstream.DecodeXLogData(message, &data) == nil {
				at = data.Start + wal.LSN(len(data.Data))
			}
			answer := walstream.AppendStatusUpdate(nil, &walstream.StatusUpdate{
				Write: at, Flush: at, Apply: at, Time: wal.TimestampOf(time.Now()), ReplyRequested: true,
			})
			if stream.Send(answer) != nil || stream.Flush() != nil {
				return
			}
		}
	})
}

// endFollowers waits for those that read.
func (h *harness) endFollowers() {
	if h.unfollow != nil {
		h.unfollow()
		h.unfollow = nil
	}
	h.followers.Wait()
}
