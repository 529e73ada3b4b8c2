package operator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/conninfo"
	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// attachFacts is one row of all that attach decides by.
const attachFacts = `SELECT current_setting('server_version_num')::int AS version,
	current_setting('server_version') AS server_version,
	current_setting('is_superuser') AS superuser,
	pg_is_in_recovery() AS standby,
	(SELECT system_identifier FROM pg_control_system()) AS system_identifier,
	current_setting('data_directory') AS data_directory,
	current_setting('port') AS port,
	current_setting('wal_level') AS wal_level,
	current_setting('wal_segment_size') AS wal_segment_size,
	current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_replication) AS free_senders,
	current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots) AS free_slots,
	current_setting('fsync') AS fsync,
	current_setting('full_page_writes') AS full_page_writes,
	current_setting('max_slot_wal_keep_size') AS slot_keep,
	(SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS slot_keep_mib,
	current_setting('idle_replication_slot_timeout', true) AS idle_slot_timeout,
	current_setting('synchronous_standby_names') AS names,
	current_setting('logging_collector') AS logging_collector,
	(SELECT coalesce(sourcefile || ':' || sourceline, source) FROM pg_settings WHERE name = 'synchronous_standby_names') AS names_source,
	(SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'Patroni%%') AS patroni,
	(SELECT count(*) FROM pg_stat_activity WHERE application_name = 'cnpg-instance-manager') AS cnpg,
	(SELECT count(*) FROM pg_stat_replication WHERE application_name = 'walhaven') AS sessions,
	(SELECT count(*) FROM pg_roles WHERE rolname = %[1]s) AS role_exists,
	(SELECT count(*) FROM pg_replication_slots WHERE slot_name = %[2]s) AS slot_exists,
	extract(epoch FROM clock_timestamp()) AS clock`

// nodeFacts is what a safekeeper says of itself.
type nodeFacts struct {
	id      int
	version string
	dataDir string
	clock   time.Duration // how far it is ahead of ours
	free    uint64        // bytes; 0 = not known
	names   []string      // of this tenant's timelines
	err     error
}

// checklist collects and prints findings.
type checklist struct {
	say    func(format string, args ...any)
	failed []string
}

// must is a finding without which attach does not go on.
func (c *checklist) must(ok bool, what, hint string) {
	if ok {
		c.say("ok       %s", what)
		return
	}
	c.failed = append(c.failed, what)
	c.say("FAILED   %s", what)
	c.say("         %s", hint)
}

// should is a finding that an operator wants to know.
func (c *checklist) should(ok bool, what, hint string) {
	if ok {
		c.say("ok       %s", what)
		return
	}
	c.say("warning  %s", what)
	c.say("         %s", hint)
}

// check asks the server and the safekeepers whether all that attach needs is
// there. It changes nothing.
func (a *attach) check(ctx context.Context) (err error) {
	role, slot := a.o.Role, a.o.Slot
	if a.Attached != nil {
		role, slot = a.Attached.Role, a.Attached.Slot
	}
	if a.facts, err = a.pg.one(ctx, fmt.Sprintf(attachFacts, literal(role), literal(slot))); err != nil {
		return err
	}
	clock, err := strconv.ParseFloat(a.facts["clock"], 64)
	if err != nil {
		return fmt.Errorf("clock of PostgreSQL: %w", err)
	}
	ahead := time.Duration(clock*float64(time.Second)) - time.Duration(time.Now().UnixNano())
	c := &checklist{say: a.say}
	a.checkServer(c)
	a.checkSettings(c)
	a.checkNames(c)
	a.checkOurs(c, role, slot)
	a.checkHBA(ctx, c, role)
	a.checkDisk(c)
	a.checkLog(c)
	a.askNodes(ctx)
	a.checkNodes(c, ahead)
	if len(c.failed) > 0 {
		return program.Explain(errors.New("nothing was changed: "+strings.Join(c.failed, "; ")), "", "The lines marked FAILED say what to do.")
	}
	return nil
}

func (a *attach) number(column string) int {
	n, _ := strconv.Atoi(a.facts[column]) // 0 fails the check that it is for
	return n
}

func (a *attach) checkServer(c *checklist) {
	f := a.facts
	major := a.number("version") / 10000
	c.must(major >= compute.MinMajor && major <= compute.MaxMajor, "PostgreSQL "+f["server_version"]+" at "+a.admin["host"]+":"+a.admin["port"],
		fmt.Sprintf("walhaven takes the WAL of %d to %d.", compute.MinMajor, compute.MaxMajor))
	c.must(f["standby"] == "f", "it is a primary", "Attach the primary: a standby has no WAL of its own.")
	c.must(f["superuser"] == "on", "user "+a.admin["user"]+" is a superuser", "Give --postgres with a superuser.")
}

func (a *attach) checkSettings(c *checklist) {
	f := a.facts
	is := func(name string) string { return name + " = " + f[name] }
	c.must(f["wal_level"] == "replica" || f["wal_level"] == "logical", is("wal_level"),
		"Set wal_level = replica (the default) and restart PostgreSQL once.")
	c.must(a.number("free_senders") >= 1, f["free_senders"]+" of max_wal_senders are free", "Raise max_wal_senders and restart PostgreSQL once.")
	c.must(a.number("free_slots") >= 1 || f["slot_exists"] != "0", f["free_slots"]+" of max_replication_slots are free",
		"Raise max_replication_slots and restart PostgreSQL once, or drop a slot that nobody needs.")
	c.must(f["fsync"] == "on", is("fsync"), "Set fsync = on and reload.")
	c.must(f["full_page_writes"] == "on", is("full_page_writes"), "Set full_page_writes = on and reload: torn pages cannot be repaired without.")
	level := a.pg.level
	c.must(syncrep.Waits(level), "synchronous_commit = "+level,
		"Set synchronous_commit = on and reload: with "+level+" no commit waits for the quorum.")
	c.must(f["wal_segment_size"] != "", "WAL segments of "+f["wal_segment_size"], "The server does not say their size.")
	keep, _ := strconv.Atoi(f["slot_keep_mib"])
	c.should(keep >= 0, "max_slot_wal_keep_size = "+f["slot_keep"],
		"Without a limit PostgreSQL keeps all WAL while the quorum is lost, until its disk is full. With one, the slot is given up instead.")
	idle := f["idle_slot_timeout"]
	c.should(idle == "" || idle == "0", "slots do not time out", "idle_replication_slot_timeout = "+idle+": a walproposer that is down for so long loses its slot.")
}

// checkNames finds out whose synchronous_standby_names is.
func (a *attach) checkNames(c *checklist) {
	f := a.facts
	if a.o.Manager == "" && f["patroni"] != "0" {
		a.o.Manager = managedByPatroni
	}
	if a.o.Manager == "" && f["cnpg"] != "0" {
		a.o.Manager = managedByCNPG
	}
	list, err := syncrep.Parse(f["names"])
	c.must(err == nil && !list.Has("*"), "synchronous_standby_names = '"+f["names"]+"'",
		"Name the standbys: with * commits would wait for the walproposer before it has caught up.")
	a.hands = !list.Has(standbyName) && (a.o.Manager != "" || len(list.Names) > 0)
}

// checkOurs looks for the role, the slot and the session that attach makes.
func (a *attach) checkOurs(c *checklist, role, slot string) {
	f, resumed := a.facts, a.Attached != nil
	c.must(f["role_exists"] == "0" || a.o.Replication != "" || resumed && a.Attached.RoleMade, "role "+role+" is to be made or ours",
		"It exists. Choose another --role, or give --replication with a connection string that uses it.")
	c.must(f["slot_exists"] == "0" || resumed, "replication slot "+slot+" is to be made or ours",
		"It exists. Drop it if nobody needs it, or choose another --slot.")
	c.must(f["sessions"] == "0" || resumed, "no other standby is called "+standbyName,
		"A session with that name is connected: is there a walproposer already? Stop it, or rename that standby.")
}

// checkHBA tries whether pg_hba.conf lets the walproposer in. Before the role
// exists only a refusal by pg_hba.conf itself means something; its name is not
// translated.
func (a *attach) checkHBA(ctx context.Context, c *checklist, role string) {
	server := asRole(a.admin, role, a.rolePassFile())
	if a.o.Replication != "" {
		return // tried in its own turn
	}
	for _, kind := range []string{"true", "false"} {
		_, err := connectAs(ctx, conninfo.Format(server), kind)
		what := map[string]string{"true": "pg_hba.conf admits replication connections of " + role, "false": "pg_hba.conf admits connections of " + role + " to " + server["dbname"]}[kind]
		c.must(err == nil || !strings.Contains(err.Error(), "pg_hba.conf"), what, hbaHint(server, kind == "true"))
	}
}

// connectAs tries a connection and closes it.
func connectAs(ctx context.Context, conninfo, replicationMode string) (string, error) {
	params := map[string]string{"application_name": "walhaven-attach", "replication": replicationMode}
	command := "SHOW server_version"
	if replicationMode == "true" {
		command = "IDENTIFY_SYSTEM"
	}
	_, err := replication.Query(ctx, conninfo, command, replication.DialOptions{Timeout: adminTimeout, Params: params})
	return command, err
}

// hbaHint is the line that pg_hba.conf lacks.
func hbaHint(server map[string]string, replicating bool) string {
	database := server["dbname"]
	if replicating {
		database = "replication"
	}
	kind, address := "host", "127.0.0.1/32"
	switch {
	case strings.HasPrefix(server["host"], "/"):
		kind, address = "local", ""
	case server["host"] != "127.0.0.1" && server["host"] != "localhost":
		address = "<address of this machine>/32"
	}
	return fmt.Sprintf("Add above the lines that refuse it, and reload: %s", oneLine(
		fmt.Sprintf("%s %s %s %s scram-sha-256", kind, database, server["user"], address)))
}

// checkDisk compares what PostgreSQL may have to keep with its free space, where
// its disk is this machine's.
func (a *attach) checkDisk(c *checklist) {
	dir := a.facts["data_directory"]
	var st unix.Statfs_t
	if postmaster.PID(dir) == 0 || unix.Statfs(filepath.Join(dir, "pg_wal"), &st) != nil {
		a.say("         disk of PostgreSQL: not on this machine, or not readable; not checked")
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	keep, _ := strconv.ParseInt(a.facts["slot_keep_mib"], 10, 64)
	need := uint64(1 << 30)
	if keep > 0 {
		need = uint64(keep) << 20
	}
	c.should(free >= need, bytesText(free)+" are free for pg_wal", "While the quorum is lost, "+bytesText(need)+" or more may be kept.")
}

// askNodes asks all safekeepers at once.
func (a *attach) askNodes(ctx context.Context) {
	a.nodes = make([]nodeFacts, len(a.Safekeepers))
	var wg sync.WaitGroup
	for i, n := range a.Safekeepers {
		wg.Go(func() { a.nodes[i] = a.askNode(ctx, n) })
	}
	wg.Wait()
}

func (a *attach) askNode(ctx context.Context, n Node) (f nodeFacts) {
	login := *a.Cluster
	login.Tenant = wal.TenantID{} // the timeline may not exist yet
	ask := func(sql string) []replication.Row {
		if f.err != nil {
			return nil
		}
		rows, err := login.query(ctx, n.PG, sql, nil)
		f.err = err
		return rows
	}
	for _, row := range ask("SHOW NODE") {
		id, err := row.Uint("node_id")
		f.id, f.version, f.err = int(id), row["version"], err
		if now, err := time.Parse(time.RFC3339Nano, row["now"]); err == nil {
			f.clock = time.Until(now)
		}
		f.free, _ = strconv.ParseUint(row["disk_free_bytes"], 10, 64)
	}
	for _, row := range ask("SHOW data_dir") {
		f.dataDir = row["data_dir"]
	}
	tenant, _ := tenantOf(a.facts["system_identifier"]) // a bad one fails later
	for _, row := range ask("SHOW TIMELINES") {
		if row["tenant_id"] == tenant.String() && (a.Attached == nil || row["timeline_id"] != a.Timeline.String()) {
			f.names = append(f.names, row["name"])
		}
	}
	return f
}

// clockSkew is how far clocks may be apart before it is mentioned. Nothing is
// decided by clocks; points in time that people name are read with them.
const clockSkew = time.Second

func (a *attach) checkNodes(c *checklist, server time.Duration) {
	seen := map[int]string{}
	name := a.o.Timeline
	if a.Attached != nil {
		name = a.Name
	}
	for i, n := range a.nodes {
		addr := a.Safekeepers[i].PG
		if n.err != nil {
			c.must(false, "safekeeper "+addr+": "+n.err.Error(), "Every safekeeper has to answer when a timeline is founded.")
			continue
		}
		c.must(seen[n.id] == "", fmt.Sprintf("safekeeper %s is node %d, version %s, %s free", addr, n.id, n.version, bytesText(n.free)), "Node "+strconv.Itoa(n.id)+" is "+seen[n.id]+", too.")
		seen[n.id] = addr
		c.should(n.version == program.Version(), "safekeeper "+addr+" has this program's version", "It has "+n.version+", this is "+program.Version()+": upgrade the older one.")
		for _, other := range n.names {
			c.must(other != name, "timeline name "+name+" is free on "+addr, "The server was attached before under this name. Choose another one: --timeline "+name+"-2")
		}
		c.should((n.clock-server).Abs() < clockSkew, "clock of "+addr, fmt.Sprintf("It is %s apart from PostgreSQL's: times in logs and points in time to restore to are.", (n.clock-server).Round(time.Millisecond)))
	}
	c.should(len(a.nodes) >= 3 && len(a.nodes)%2 == 1, fmt.Sprintf("%d safekeepers: %d may be lost", len(a.nodes), (len(a.nodes)-1)/2), "Three survive the loss of one, five of two.")
	c.should(server.Abs() < clockSkew, "clock of PostgreSQL", fmt.Sprintf("It is %s apart from this machine's.", server.Round(time.Millisecond)))
}
