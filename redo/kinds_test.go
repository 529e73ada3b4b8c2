package redo

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// withoutPages are the kinds of record that reference no block to be changed,
// with what they change instead.
var withoutPages = map[string]string{
	"XLOG": "counters, positions, settings", "Transaction": "SLRUs, files", "Storage": "files, the ends of maps",
	"CLOG": "SLRU", "CommitTs": "SLRU", "MultiXact": "SLRUs", "Database": "files", "Tablespace": "files",
	"RelMap": "a file", "Standby": "locks, snapshots", "ReplicationOrigin": "progress", "LogicalMessage": "nothing",
	"Heap/TRUNCATE": "logical decoding", "Heap2/REWRITE": "a file", "Heap2/NEW_CID": "logical decoding",
	"Btree/REUSE_PAGE": "standby's snapshots", "Gist/PAGE_REUSE": "standby's snapshots",
	"Gist/ASSIGN_LSN": "nothing: makes an LSN",
}

// imagesOnly always come with images of all pages to be restored.
var imagesOnly = map[string]bool{
	"XLOG/FPI": true, "XLOG/FPI_FOR_HINT": true, "Hash/SPLIT_PAGE": true, "Gin/VACUUM_PAGE": true,
}

// TestKinds shows that each kind of record of each version is applied to some
// sample, restored from images, or changes no page; testdata/kinds.txt is the
// table. UPDATE_GOLDEN=1 rewrites it.
func TestKinds(t *testing.T) {
	cells := map[string]map[int]string{}
	var kinds []string
	for _, major := range sampleMajors {
		k := runSamples(t, major, Apply)
		for _, kind := range walrecord.Kinds(major) {
			if cells[kind] == nil {
				cells[kind] = map[int]string{}
				kinds = append(kinds, kind)
			}
			cells[kind][major] = kindCell(t, k, kind, major)
		}
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kind\t14\t15\t16\t17\t18")
	for _, kind := range kinds {
		fmt.Fprint(w, kind)
		for _, major := range sampleMajors {
			cell := cells[kind][major]
			if cell == "" {
				cell = "-"
			}
			fmt.Fprint(w, "\t", cell)
		}
		fmt.Fprintln(w)
	}
	require.NoError(t, w.Flush())
	if os.Getenv("UPDATE_GOLDEN") != "" {
		require.NoError(t, os.WriteFile("testdata/kinds.txt", b.Bytes(), 0o644))
	}
	want, err := os.ReadFile("testdata/kinds.txt")
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

func kindCell(t *testing.T, k *oracle, kind string, major int) string {
	t.Helper()
	manager, _, _ := strings.Cut(kind, "/")
	count := k.kinds[kind]
	switch {
	case imagesOnly[kind]:
		return "images"
	case withoutPages[kind] != "" || withoutPages[manager] != "":
		require.Nil(t, count, kind)
		return "none"
	case count != nil:
		return fmt.Sprint(count.compared)
	}
	if computetest.Unreached[kind] == "" {
		t.Errorf("version %d: no sample of %s", major, kind)
	}
	return "unsampled"
}
