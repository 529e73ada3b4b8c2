package failpoints

// The programs that are killed.
const (
	safekeeper  = "safekeeper"
	pageserver  = "pageserver"
	walproposer = "walproposer"
)

// point is a program and a fail point that it passes.
type point struct {
	program string
	name    string
	// nth is the pass at which the process is killed.
	nth int
	// scene makes the program pass the point; the zero scene is the writer alone.
	scene scene
	// unreachable says why no scene here passes the point, and what kills there.
	unreachable string
}

// elsewhere are groups of fail points that no cluster here passes, and whose tests
// kill there.
var elsewhere = []struct{ prefix, tests string }{
	{"pagestore/", "pagestore's crash tests, at every point, and test/e2e TestPagesSurviveKillsAndFaults"},
	{"pageserver/import/", "test/e2e TestImportSurvivesKills, at random instants and not yet at these points"},
	{"operator/", "test/e2e TestAttachGoesOnAfterACrash and TestMemberGoesOnAfterACrash: the operator's tool, at every point"},
	{"proposing/members/", "test/e2e TestMemberGoesOnAfterACrash, as often as a walproposer comes there"},
}

const (
	ownCrashTests = "walstore's crash tests, at every point of theirs"
	needsSwitch   = "only after a promotion of PostgreSQL: " + ownCrashTests
)

// table has every fail point of every program that passes it.
var table = append(append([]point{
	{program: safekeeper, name: "accepting/send/before", nth: 20},
	{program: safekeeper, name: "accepting/send/after", nth: 20},
	{program: safekeeper, name: "accepting/sync/before", nth: 10},
	{program: safekeeper, name: "accepting/sync/after", nth: 10},
	{program: safekeeper, name: "accepting/save/before", nth: 1, scene: election},
	{program: safekeeper, name: "accepting/save/after", nth: 1, scene: election},
	{program: safekeeper, name: "accepting/truncate/before", nth: 1, scene: election},
	{program: safekeeper, name: "accepting/truncate/after", nth: 1, scene: election},
	{program: safekeeper, name: "accepting/read-term/after", nth: 1, scene: donor},
	{program: safekeeper, name: "sender/greeting/before", nth: 1},
	{program: safekeeper, name: "sender/heartbeat/before", nth: 2},
	{program: safekeeper, name: "sender/push/before", nth: 3, scene: pusher},
	{program: safekeeper, name: "sender/push/after", nth: 3, scene: pusher},
	{program: safekeeper, name: "sender/stream/before", nth: 3, scene: follower},
	{program: safekeeper, name: "sender/stream/after", nth: 3, scene: follower},
	{program: safekeeper, name: "sender/keepalive/before", nth: 1, scene: follower},
	{program: safekeeper, name: "sender/shutdown/before", nth: 1, scene: shutdown},
	{program: safekeeper, name: "receiver/report/before", nth: 1, scene: peers},
	{program: safekeeper, name: "safekeeper/replay/before", nth: 3, scene: peers},
	{program: safekeeper, name: "datadir/sealed/write", nth: 1, scene: slot},
	{program: safekeeper, name: "datadir/sealed/sync", nth: 1, scene: slot},
	{program: safekeeper, name: "datadir/sealed/rename", nth: 1, scene: slot},
	{program: safekeeper, name: "datadir/sealed/folder", nth: 1, scene: slot},
	{program: safekeeper, name: "safekeeper/embryo/before", unreachable: "only Neon's walproposer makes a timeline without founding it"},

	{program: pageserver, name: "pageserver/greeting/before", nth: 1},
	{program: pageserver, name: "pageserver/store/before", nth: 5},
	{program: pageserver, name: "pageserver/store/after", nth: 5},
	{program: pageserver, name: "pageserver/sync/before", nth: 5},
	{program: pageserver, name: "pageserver/sync/after", nth: 5},
	{program: pageserver, name: "pageserver/report/before", nth: 10},
	{program: pageserver, name: "pageserver/report/after", nth: 10},
	{program: pageserver, name: "pageserver/history/before", unreachable: needsSwitch},
	{program: pageserver, name: "datadir/sealed/write", nth: 1, scene: founding},
	{program: pageserver, name: "datadir/sealed/sync", nth: 1, scene: founding},
	{program: pageserver, name: "datadir/sealed/rename", nth: 1, scene: founding},
	{program: pageserver, name: "datadir/sealed/folder", nth: 1, scene: founding},

	{program: walproposer, name: "walproposer/control/before", nth: 2},
	{program: walproposer, name: "walproposer/control/after", nth: 1},
	{program: walproposer, name: "walproposer/push/before", nth: 20},
	{program: walproposer, name: "walproposer/push/after", nth: 20},
	{program: walproposer, name: "walproposer/report/before", nth: 10},
	{program: walproposer, name: "walproposer/report/after", nth: 10},
	{program: walproposer, name: "walproposer/tap/received", nth: 10},
	{program: walproposer, name: "walproposer/tap/queued", nth: 10},
	{program: walproposer, name: "proposing/commit/before-report", nth: 10},
	{program: walproposer, name: "proposing/commit/before-announce", nth: 10},
	{program: walproposer, name: "proposing/announce", unreachable: "only when no commit follows for a moment; walproposer's TestLastCommitIsAnnounced leaves the announcement out"},
	{program: walproposer, name: "shmqueue/publish/before", nth: 10},
	{program: walproposer, name: "shmqueue/publish/after", nth: 10},
	{program: walproposer, name: "shmqueue/publish/woken", nth: 10},
	{program: walproposer, name: "shmqueue/block/clear", nth: 2},
	{program: walproposer, name: "shmqueue/block/generation", nth: 2},
	{program: walproposer, name: "shmqueue/block/start", nth: 2},
	{program: walproposer, name: "shmqueue/block/bytes", nth: 10},
	{program: walproposer, name: "shmqueue/block/stamp", nth: 10},
	{program: walproposer, name: "shmqueue/block/fill", nth: 10},
	{program: walproposer, name: "shmqueue/slot/generation", nth: 2},
	{program: walproposer, name: "shmqueue/slot/live", nth: 2},
	{program: walproposer, name: "shmqueue/pin/before", nth: 10},
	{program: walproposer, name: "shmqueue/pin/after", nth: 10},
	{program: walproposer, name: "shmqueue/unpin", nth: 10},
	{program: walproposer, name: "shmqueue/ask", nth: 10},
	{program: walproposer, name: "shmqueue/floor/before", nth: 1, scene: smallQueue},
	{program: walproposer, name: "shmqueue/floor/raised", nth: 1, scene: smallQueue},
	{program: walproposer, name: "shmqueue/space/wanted", nth: 1, scene: fullQueue},
	{program: walproposer, name: "shmqueue/slot/revoked", unreachable: "only when a safekeeper stops taking WAL in the middle of a frame: shmqueue's tests hook it"},
	{program: walproposer, name: "receiver/report/before", nth: 1, scene: fed},
}, walstorePoints(safekeeper)...), walstorePoints(pageserver)...)

// walstorePoints are those of the store, which both keepers of WAL have.
func walstorePoints(program string) []point {
	all := []point{
		{name: "walstore/segment/write", nth: 20},
		{name: "walstore/segment/sync", nth: 5},
		{name: "walstore/segment/zero", nth: 1},
		{name: "walstore/segment/copy", nth: 1},
		{name: "walstore/segment/swap", nth: 1},
		{name: "walstore/segment/open", nth: 1, scene: segmentEnd},
		{name: "walstore/segment/seal", nth: 1, scene: segmentEnd},
		{name: "walstore/segment/unseal", unreachable: ownCrashTests},
		{name: "walstore/segment/remove", unreachable: "retention keeps all WAL of so short a run: " + ownCrashTests},
		{name: "walstore/remove/done", unreachable: "retention keeps all WAL of so short a run: " + ownCrashTests},
		{name: "walstore/folder/sync", nth: 2},
		{name: "walstore/control/write", nth: 1},
		{name: "walstore/control/sync", nth: 1},
		{name: "walstore/control/rename", nth: 1},
		{name: "walstore/append/done", nth: 20},
		{name: "walstore/sync/done", nth: 5},
		{name: "walstore/open/done", nth: 1},
		{name: "walstore/history/write", unreachable: needsSwitch},
		{name: "walstore/history/sync", unreachable: needsSwitch},
		{name: "walstore/history/rename", unreachable: needsSwitch},
		{name: "walstore/fence/write", nth: 1, scene: failedWrite},
		{name: "walstore/fence/sync", nth: 1, scene: failedWrite},
		{name: "walstore/fence/remove", nth: 1, scene: fenced},
	}
	switch program {
	case safekeeper:
		all = append(all,
			point{name: "walstore/control/done", nth: 1, scene: election},
			point{name: "walstore/truncate/done", nth: 1, scene: election},
			point{name: "walstore/create/rename", unreachable: "a member that loses its data must not count again: the pageserver is killed there"})
	case pageserver:
		all = append(all,
			point{name: "walstore/control/done", unreachable: needsSwitch},
			point{name: "walstore/truncate/done", unreachable: needsSwitch},
			point{name: "walstore/create/rename", nth: 1, scene: founding})
	}
	for i := range all {
		all[i].program = program
	}
	return all
}
