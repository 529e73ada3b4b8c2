package pageserver

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pagestream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

func TestPages(t *testing.T) {
	o := newOrigin(t)
	for name, test := range map[string]func(*testing.T, *origin){
		"import becomes visible": importBecomesVisible, "left timeline": importOfALeftTimelineIsThrownAway,
		"misfits": importsThatDoNotFitAreRefused, "page requests": pageRequests, "lone request": answersLeaveBeforeALoneRequest, "segments in turn": segmentsInTurn,
		"same timeline ID": pagesOfAnotherTenantStay,
		"short layers":     shortLayersAreNamed,
		"large records":    largeRecordsAreRefused, "forks": forksAreShown,
	} {
		t.Run(name, func(t *testing.T) { test(t, o) })
	}
}

// A timeline that another tenant has under the same ID takes nobody's pages away,
// neither when it is founded nor at a start.
func pagesOfAnotherTenantStay(t *testing.T, o *origin) {
	n := readyNode(t, o)
	other := *o.greeting(wal.TimelineHistory{Last: 1})
	for i := range 4 { // Some of them are loaded first.
		other.TTID.Tenant = wal.TenantID{15: byte(1 + 70*i)}
		_, err := n.server.timelines.findOrFound(&protocol.Session{}, &other)
		require.NoError(t, err)
	}
	store, err := n.timeline.pages.storage.use()
	require.NoError(t, err)
	_, err = store.Timeline(n.timeline.id.Timeline)
	require.NoError(t, err, "the pages are there")
	n.stop()
	odd := filepath.Join(t.TempDir(), "called [so]")
	require.NoError(t, os.Rename(n.dir, odd))
	n.dir = odd
	n.start()
	n.eventually(func() bool { return n.timeline.pages.position.Last() == o.end })
	_, err = n.timeline.pages.use()
	require.NoError(t, err)
}

// An import is not there before committed WAL has passed its end, and from then
// on, also after restarts at each stage.
func importBecomesVisible(t *testing.T, o *origin) {
	n := startNode(t, o)
	n.push(o.ends[len(o.ends)/4])
	require.Equal(t, "none", n.status()["pages"])
	_, err := n.query("SHOW RELATIONS")
	require.Equal(t, protocol.CodeNotInState, protocol.SQLState(err))
	require.ErrorContains(t, err, "no base backup was imported")

	require.ErrorContains(t, n.importBase(0, false), "before it was complete")
	require.Equal(t, "none", n.status()["pages"])
	require.Contains(t, n.status()["pages_reason"], "the last import failed")

	stop := o.ends[len(o.ends)/2]
	require.NoError(t, n.importBase(stop, true))
	n.eventually(func() bool { return n.status()["applied_lsn"] == o.ends[len(o.ends)/4].String() })
	require.Equal(t, "catching up", n.status()["pages"])
	_, err = n.query("SHOW RELATIONS")
	require.ErrorContains(t, err, "is consistent at "+stop.String())
	n.restart()
	require.Equal(t, "catching up", n.status()["pages"])
	require.ErrorContains(t, n.importBase(stop, true), "has pages already")
	n.push(o.ends[len(o.ends)/2-1])
	n.eventually(func() bool { return n.status()["applied_lsn"] == o.ends[len(o.ends)/2-1].String() })
	require.Equal(t, "catching up", n.status()["pages"], "a record is missing")

	n.push(stop)
	n.eventually(func() bool { return n.status()["pages"] == "active" })
	require.Equal(t, stop.String(), n.status()["oldest_page_lsn"])
	_, err = n.query("SHOW RELATIONS AT LSN '" + o.ends[len(o.ends)/2-1].String() + "'")
	require.Equal(t, protocol.CodeOutsideWindow, protocol.SQLState(err), "below the backup's end: %v", err)
	n.restart()
	n.push(o.end)
	n.eventually(func() bool { return n.status()["applied_lsn"] == o.end.String() })
	requireLastPages(t, n)
	requireHistory(t, n)
}

// requireLastPages compares the table with the file of the server that was
// stopped last.
func requireLastPages(t *testing.T, n *node) {
	t.Helper()
	parts := strings.Split(n.o.relid, "/")
	file, err := os.ReadFile(filepath.Join(n.o.last, "base", parts[1], parts[2]))
	require.NoError(t, err)
	for _, block := range []string{"0", "3"} {
		rows, err := n.query("SHOW PAGE '" + n.o.relid + "' BLOCK " + block + " AT LSN '" + n.o.end.String() + "'")
		require.NoError(t, err)
		require.Len(t, rows, 1)
		ours, err := hex.DecodeString(strings.TrimPrefix(rows[0]["page"], `\x`))
		require.NoError(t, err)
		require.Len(t, ours, 8192)
		theirs := file[8192*int(block[0]-'0'):][:8192]
		require.Equal(t, theirs[:8], ours[:8], "pd_lsn")
		require.Equal(t, theirs[12:18], ours[12:18], "pointers")
		require.Equal(t, [2]string{"4", "8192"}, [2]string{rows[0]["version"], rows[0]["page_size"]})
		require.NotEqual(t, "0", rows[0]["line_pointers"])
	}
}

// requireHistory looks at what is kept of a page.
func requireHistory(t *testing.T, n *node) {
	t.Helper()
	rows, err := n.query("SHOW HISTORY OF PAGE '" + n.o.relid + "' BLOCK 0 LIMIT 5")
	require.NoError(t, err)
	require.Len(t, rows, 5)
	require.Equal(t, "record", rows[0]["kind"])
	require.Contains(t, rows[0]["description"], "blkref #0: rel "+n.o.relid)
	require.NotEmpty(t, rows[0]["xid"])

	// Whole pages are of a record, too, but for the base backup's.
	rows, err = n.query("SHOW HISTORY OF PAGE '" + n.o.relid + "' BLOCK 0")
	require.NoError(t, err)
	rows = slices.DeleteFunc(rows, func(r replication.Row) bool { return r["kind"] != "image" || r["rmgr"] == "" })
	require.NotEmpty(t, rows)
	for _, r := range rows {
		start, err := r.LSN("start_lsn")
		require.NoError(t, err)
		end, err := r.LSN("lsn")
		require.NoError(t, err)
		require.Less(t, start, end)
		require.Contains(t, []string{"Heap", "Heap2"}, r["rmgr"])
		require.Equal(t, r["operation"]+", the whole page after it", r["description"])
	}
}

// A base whose timeline was left before its end is thrown away, and another one
// can be imported.
func importOfALeftTimelineIsThrownAway(t *testing.T, o *origin) {
	n := startNode(t, o)
	sw := o.ends[len(o.ends)/4]
	n.push(sw)
	require.NoError(t, n.importBase(o.ends[len(o.ends)/2], true))
	n.eventually(func() bool { return n.status()["pages"] == "catching up" && n.status()["applied_lsn"] == sw.String() })

	h := wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: sw}}}
	require.NoError(t, n.timeline.admit(o.greeting(h)))
	n.eventually(func() bool { return n.status()["pages"] == "none" })
	require.Contains(t, n.status()["pages_reason"], "thrown away")
	_, err := os.Stat(filepath.Join(n.timeline.pages.dir, baseFile))
	require.ErrorIs(t, err, os.ErrNotExist)

	err = n.importBase(o.ends[len(o.ends)/2], true)
	require.ErrorContains(t, err, "which the quorum left before")
	require.NoError(t, n.importBase(sw-8, true), "one that ends before the switch is good")
	n.eventually(func() bool { return n.status()["pages"] == "active" })
}

func importsThatDoNotFitAreRefused(t *testing.T, o *origin) {
	n := startNode(t, o)
	n.push(o.ends[10])
	start := n.timeline.store.Control().Start
	require.Equal(t, o.redo, start)
	other := *o
	other.redo, other.system = o.redo, o.system+1
	m := startNode(t, &other)
	require.ErrorContains(t, m.importBase(0, true), "the backup is of cluster")
	require.Equal(t, "none", m.status()["pages"])
}

// A layer that has become shorter is damage, with its name, to psql and to page
// requests; neither gets a page.
func shortLayersAreNamed(t *testing.T, o *origin) {
	n := readyNode(t, o)
	require.NoError(t, n.timeline.pages.tl.Flush(t.Context()))
	n.restart()
	n.eventually(func() bool { return n.status()["pages"] == "active" })
	layers, err := filepath.Glob(filepath.Join(n.dir, pagesFolder, n.timeline.id.Timeline.String(), "*.layer"))
	require.NoError(t, err)
	require.NotEmpty(t, layers)
	for _, path := range layers {
		require.NoError(t, os.Truncate(path, 1000))
	}
	_, err = n.query("SHOW PAGE '" + o.relid + "' BLOCK 77 AT LSN '" + o.end.String() + "'")
	require.Equal(t, protocol.CodeDataCorrupted, protocol.SQLState(err), "%v", err)
	require.ErrorContains(t, err, ".layer")
	answer := n.pageClient(pagestream.Version3).ask(o.table(pagestream.GetPage, 78, o.end, o.end))
	require.Contains(t, answer.Failure, "corrupt data of timeline")
	require.Contains(t, answer.Failure, ".layer")
	require.Empty(t, answer.Pages)
}

// A record for which there is no memory stops the pages in front of it and says
// what to do; more memory is enough to go on.
func largeRecordsAreRefused(t *testing.T, o *origin) {
	n := startNode(t, o)
	limit := 0
	at, largest := wal.LSN(0), wal.LSN(0)
	for i := len(o.ends) / 2; i < len(o.ends)-1; i++ {
		if size := o.ends[i+1] - o.ends[i]; size > largest {
			at, largest = o.ends[i], size
		}
	}
	limit = int(largest) / 2
	n.timeline.pages.storage.maxRecord = limit
	n.push(o.end)
	require.NoError(t, n.importBase(o.ends[4], true))
	n.eventually(func() bool { return strings.Contains(n.status()["pages_reason"], "start the pageserver with --memory") })
	require.Contains(t, n.status()["pages_reason"], fmt.Sprintf("more than the %d that there is memory for", limit))
	stopped, err := wal.ParseLSN(n.status()["applied_lsn"])
	require.NoError(t, err)
	require.LessOrEqual(t, stopped, at)
	_, err = n.query("SHOW PAGE '" + o.relid + "' BLOCK 7 AT LSN '" + o.end.String() + "'")
	require.ErrorContains(t, err, "start the pageserver with --memory", "who waits is told, too")
	n.restart()
	n.eventually(func() bool { return n.status()["applied_lsn"] == o.end.String() })
}
