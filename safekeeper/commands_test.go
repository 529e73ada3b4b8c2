package safekeeper_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
)

func TestFoundingIsExplicitAndIdempotent(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	_, err := replication.Dial(t.Context(), sk.conninfo(), "START_WAL_PUSH (proto_version '3', allow_timeline_creation 'true')", sk.options())
	require.Equal(t, "42704", protocol.SQLState(err), "nothing founds a timeline implicitly: %v", err)
	require.Empty(t, sk.mustQuery("TIMELINE_STATUS"), "an unknown timeline has no row")

	statement := func(edit ...string) string {
		s := fmt.Sprintf("CREATE TIMELINE %s %s (system_id '%d', pg_version '150020', wal_segment_size '1MB', start_lsn '%s', members '1=%s')",
			testID.Tenant, testID.Timeline, o.systemID, o.start, sk.addr)
		return strings.NewReplacer(edit...).Replace(s)
	}
	for name, tc := range map[string]struct{ sql, code, text string }{
		"not a member":      {statement("members '1=", "members '2="), "22023", "node 1 is not among the members"},
		"unknown option":    {statement("members", "member"), "42601", ""},
		"bad start":         {statement("start_lsn '"+o.start.String(), "start_lsn '0/300001"), "22023", "not the position of a record"},
		"bad version":       {statement("150020", "120005"), "22023", "not supported"},
		"other incarnation": {statement("members", "incarnations '1=00112233445566778899aabbccddeeff', members"), "22023", "its data directory is another one"},
		"later generation":  {statement("members '1=", "generation '2', members '1="), "22023", "generation 1"},
		"bad segment size":  {statement("'1MB'", "'12345'"), "22023", "power of two"},
	} {
		_, err := sk.query(tc.sql)
		require.Equal(t, tc.code, protocol.SQLState(err), "%s: %v", name, err)
		require.ErrorContains(t, err, tc.text, name)
	}
	require.Empty(t, sk.mustQuery("SHOW TIMELINES"))
	sk.mustQuery(statement())
	sk.mustQuery(statement())
	_, err = sk.query(statement("150020", "160004"))
	require.Equal(t, "42710", protocol.SQLState(err))
	_, err = sk.query(statement(testID.Timeline.String(), "cc000000000000000000000000000003"))
	require.Equal(t, "42710", protocol.SQLState(err), "the name is taken")
	require.Len(t, sk.mustQuery("SHOW TIMELINES"), 1)
}

func TestTimelineIsChosenByNameOrIDOrBeingTheOnlyOne(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	rows := func(options string) (int, error) {
		r, err := replication.Query(t.Context(), sk.conninfo(), "IDENTIFY_SYSTEM",
			replication.DialOptions{Params: map[string]string{"options": options}})
		return len(r), err
	}
	for _, options := range []string{
		"", "-c timeline_id=main", "timeline_id=" + testID.Timeline.String(),
		"-c tenant_id=" + strings.ToUpper(testID.Tenant.String()) + " -c timeline_id=main",
	} {
		n, err := rows(options)
		require.NoError(t, err, options)
		require.Equal(t, 1, n)
	}
	_, err := rows("-c timeline_id=other")
	require.Equal(t, "42704", protocol.SQLState(err))
	_, err = rows("-c tenant_id=zz")
	require.Equal(t, "22023", protocol.SQLState(err))

	sk.mustQuery(fmt.Sprintf("CREATE TIMELINE %s %s (name 'second', system_id '%d', pg_version '150020', start_lsn '%s', members '1=%s')",
		testID.Tenant, "cc000000000000000000000000000003", o.systemID, o.start, sk.addr))
	_, err = rows("")
	require.ErrorContains(t, err, "several timelines are here")
	_, err = rows("-c timeline_id=second")
	require.NoError(t, err)
}

func TestIdentifySystemByApplication(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	for app, want := range map[string]wal.LSN{
		"": o.start, "pg_receivewal": o.start, "wal_proposer_recovery": o.end(), "safekeeper_2": o.end(),
	} {
		options := sk.options()
		options.Params["application_name"] = app
		rows, err := replication.Query(t.Context(), sk.conninfo(), "IDENTIFY_SYSTEM", options)
		require.NoError(t, err)
		require.Equal(t, want.String(), rows[0]["xlogpos"], app)
		require.Equal(t, o.systemID.String(), rows[0]["systemid"])
		require.Equal(t, "1", rows[0]["timeline"])
	}
	_, err := sk.query("TIMELINE_HISTORY 1")
	require.Equal(t, "58P01", protocol.SQLState(err))
	_, err = sk.query("BASE_BACKUP")
	require.Equal(t, "0A000", protocol.SQLState(err))
}

func TestSlotsOverTheWire(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	require.Equal(t, replication.Row{}, sk.mustQuery("READ_REPLICATION_SLOT s1")[0], "three NULLs")
	require.Equal(t, "0/0", sk.mustQuery("CREATE_REPLICATION_SLOT s1 PHYSICAL")[0]["consistent_point"])
	require.Equal(t, replication.Row{"slot_type": "physical"}, sk.mustQuery("READ_REPLICATION_SLOT s1")[0])
	sk.mustQuery("CREATE_REPLICATION_SLOT s2 PHYSICAL (RESERVE_WAL)")
	require.Equal(t, o.from.String(), sk.mustQuery("READ_REPLICATION_SLOT s2")[0]["restart_lsn"])
	sk.restart()
	require.Len(t, sk.mustQuery("SHOW SLOTS"), 2)

	client, err := replication.Connect(t.Context(), sk.conninfo(), sk.options())
	require.NoError(t, err)
	_, err = client.Query(t.Context(), "CREATE_REPLICATION_SLOT tmp TEMPORARY PHYSICAL RESERVE_WAL")
	require.NoError(t, err)
	require.Len(t, sk.mustQuery("SHOW SLOTS"), 3)
	_, err = client.Query(t.Context(), "DROP_REPLICATION_SLOT nope")
	require.Equal(t, "42704", protocol.SQLState(err))
	require.Len(t, sk.mustQuery("SHOW SLOTS"), 2, "an error drops the session's temporary slots")
	_, err = client.Query(t.Context(), "CREATE_REPLICATION_SLOT l LOGICAL pgoutput")
	require.Equal(t, "55000", protocol.SQLState(err))
	require.NoError(t, client.Close())
}

// A timeline that does not load is reported and does not hinder the others.
func TestBrokenTimelineIsReportedNotServed(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	second := "cc000000000000000000000000000003"
	sk.mustQuery(fmt.Sprintf("CREATE TIMELINE %s %s (name 'second', system_id '%d', pg_version '150020', start_lsn '%s', members '1=%s')",
		testID.Tenant, second, o.systemID, o.start, sk.addr))
	sk.down()
	control := filepath.Join(sk.dir, testID.Tenant.String(), second, "walhaven.control")
	b, err := os.ReadFile(control)
	require.NoError(t, err)
	b[len(b)/2] ^= 0x40
	require.NoError(t, os.WriteFile(control, b, 0o600))
	sk.up()

	rows := sk.mustQuery("SHOW TIMELINES")
	require.Len(t, rows, 2)
	require.Equal(t, "active", rows[0]["state"])
	require.Equal(t, "failed", rows[1]["state"])
	require.NotEmpty(t, rows[1]["reason"])
	ready, _ := sk.health.Status()
	require.False(t, ready)
	_, err = sk.query(fmt.Sprintf("CREATE TIMELINE %s %s (name 'second', system_id '%d', pg_version '150020', start_lsn '%s', members '1=%s')",
		testID.Tenant, second, o.systemID, o.start, sk.addr))
	require.Equal(t, "42710", protocol.SQLState(err), "a broken timeline is not founded over")
}

// A timeline's folder that was copied to another node's data directory carries
// votes that are not that node's.
func TestCopiedTimelineIsRefused(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	a, b := startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil)
	o.found(t, []*node{a, b}, a)
	a.down()
	b.down()
	require.NoError(t, os.CopyFS(filepath.Join(b.dir, testID.Tenant.String()), os.DirFS(filepath.Join(a.dir, testID.Tenant.String()))))
	b.up()
	rows := b.mustQuery("SHOW TIMELINES")
	require.Equal(t, "failed", rows[0]["state"])
	require.Contains(t, rows[0]["reason"], "another incarnation")
}

func TestMetricsAreWellFormed(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	ps := startPageserver(t, 9)
	sk := startSafekeeper(t, 1, pushingTo(ps))
	o.found(t, []*node{sk})
	commitAll(t, o, sk)
	ps.waitLSN("disk_consistent_lsn", o.end())
	for _, registry := range []*prometheus.Registry{sk.metrics, ps.metrics} {
		problems, err := testutil.GatherAndLint(registry)
		require.NoError(t, err)
		require.Empty(t, problems)
	}
	n, err := testutil.GatherAndCount(sk.metrics, "walhaven_safekeeper_commit_lsn_bytes", "walhaven_safekeeper_pageserver_lag_bytes")
	require.NoError(t, err)
	require.Equal(t, 2, n)
}

func TestHTTPRendersTheSameRows(t *testing.T) {
	c := safekeeper.DefaultConfig()
	c.ID, c.DataDir = 1, t.TempDir()
	s, err := safekeeper.New(safekeeper.Options{Config: c, Auth: auth.Policy{}, Logger: logger(t)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	get := func(path string, into any) int {
		w := httptest.NewRecorder()
		s.V1().ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), "GET", path, nil))
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), into), w.Body.String())
		return w.Code
	}
	var names []string
	require.Equal(t, 200, get("/v1/", &names))
	require.Contains(t, names, "/v1/show-timelines")
	require.NotContains(t, names, "/v1/create-timeline")
	var rows []map[string]string
	require.Equal(t, 200, get("/v1/show-node", &rows))
	require.Equal(t, "1", rows[0]["node_id"])
	require.Equal(t, s.Identity().IncarnationHex(), rows[0]["incarnation"])
	var failure map[string]string
	require.Equal(t, 404, get("/v1/show-slots?timeline_id=nope", &failure))
	require.Equal(t, "42704", failure["sqlstate"])
	require.Equal(t, 400, get("/v1/wal_digest?start=0/1", &failure))
}

func TestDataDirectoryIsExclusive(t *testing.T) {
	sk := startSafekeeper(t, 1, nil)
	c := safekeeper.DefaultConfig()
	c.ID, c.DataDir = 1, sk.dir
	_, err := safekeeper.New(safekeeper.Options{Config: c, Auth: auth.Policy{}, Logger: logger(t)})
	require.ErrorIs(t, err, datadir.ErrLocked)
	sk.down()
	c.ID = 2
	_, err = safekeeper.New(safekeeper.Options{Config: c, Auth: auth.Policy{}, Logger: logger(t)})
	require.ErrorContains(t, err, "belongs to node 1")
}

// Founding a timeline again after a member lost its data directory must not make
// an empty voter of it: the others refuse, and without their incarnations it
// refuses itself.
func TestFoundingAgainKnowsReplacedMembers(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	own := sk.mustQuery("SHOW NODE")[0]["incarnation"]
	old, anew := strings.Repeat("22", 16), strings.Repeat("33", 16)
	statement := func(more string) string {
		return fmt.Sprintf("CREATE TIMELINE %s %s (system_id '%d', pg_version '150020', wal_segment_size '1MB', start_lsn '%s', members '1=%s,2=h:1'%s)",
			testID.Tenant, testID.Timeline, o.systemID, o.start, sk.addr, more)
	}
	_, err := sk.query(statement(""))
	require.Equal(t, "22023", protocol.SQLState(err))
	require.ErrorContains(t, err, "the incarnation of node 2 is required")
	_, err = sk.query(statement(", incarnations '1=" + old + ",2=" + old + "'"))
	require.Equal(t, "22023", protocol.SQLState(err), "it is another data directory")

	sk.mustQuery(statement(", incarnations '1=" + own + ",2=" + old + "'"))
	sk.mustQuery(statement(", incarnations '2=" + old + "'"))
	_, err = sk.query(statement(", incarnations '1=" + own + ",2=" + anew + "'"))
	require.Equal(t, "42710", protocol.SQLState(err))
	require.ErrorContains(t, err, "other data directories of nodes [2]")
	require.Equal(t, "f", sk.mustQuery("TIMELINE_STATUS")[0]["joining"])
}

// Members that name each other in another order would take each other for
// another membership.
func TestMembersHaveOneOrder(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	for _, members := range []string{"2=h:1,1=" + sk.addr, "1=" + sk.addr + ",2=h:1"} {
		sk.mustQuery(fmt.Sprintf("CREATE TIMELINE %s %s (system_id '%d', pg_version '150020', wal_segment_size '1MB', start_lsn '%s', members '%s', incarnations '2=%s')",
			testID.Tenant, testID.Timeline, o.systemID, o.start, members, strings.Repeat("22", 16)))
		rows := sk.mustQuery("SHOW MEMBERS")
		require.Len(t, rows, 2)
		require.Equal(t, []string{"1", "2"}, []string{rows[0]["node_id"], rows[1]["node_id"]})
	}
}

// A node whose data directory is not the one that the members name can only
// join.
func TestReplacedMemberJoins(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	sk.mustQuery(fmt.Sprintf("CREATE TIMELINE %s %s (system_id '%d', pg_version '150020', wal_segment_size '1MB', start_lsn '%s', "+
		"members '1=%s,2=h:1', incarnations '1=%s', joining 'true')",
		testID.Tenant, testID.Timeline, o.systemID, o.start, sk.addr, strings.Repeat("22", 16)))
	require.Equal(t, "t", sk.mustQuery("TIMELINE_STATUS")[0]["joining"])
}
