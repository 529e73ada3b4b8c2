package walstore

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// callLog collects the calls that change a disk or make it durable.
type callLog struct {
	mu sync.Mutex
	b  strings.Builder
}

var uninteresting = regexp.MustCompile(`^(open|open-dir|read-at|close|prefetch)[:(]`)

func (l *callLog) log(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if uninteresting.MatchString(line) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.WriteString(strings.ReplaceAll(strings.ReplaceAll(line, testDir+"/", ""), testDir, "<folder>") + "\n")
}

func (l *callLog) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// TestOrderOfCalls compares the order of writes, fsyncs and renames with the
// files in testdata/order. Run with -rewrite to record a new order, and look at
// the difference: a lost fsync shows there.
func TestOrderOfCalls(t *testing.T) {
	datadriven.Walk(t, "testdata/order", func(t *testing.T, path string) {
		o := orderTest{t: t, g: newGenerator(), h: wal.TimelineHistory{Last: 1}}
		o.o.FS = vfs.WithLogging(vfs.NewMem(), o.calls.log)
		defer func() { require.NoError(t, o.s.Close()) }()
		datadriven.RunTest(t, path, o.run)
	})
}

type orderTest struct {
	t     *testing.T
	o     Options
	calls callLog
	s     *Store
	g     *generator
	h     wal.TimelineHistory
	mark  generator // where "mark" was
}

func (o *orderTest) run(t *testing.T, d *datadriven.TestData) string {
	var err error
	switch d.Cmd {
	case "create":
		o.s, err = Create(testDir, testControl(), o.o)
	case "open":
		o.s, err = Open(testDir, o.o)
	case "close":
		err = o.s.Close()
	case "prefix":
		err = o.s.SynthesizePrefix()
	case "append", "append-switch":
		if d.Cmd == "append" {
			var n int
			d.ScanArgs(t, "n", &n)
			o.g.record(n, 1)
		} else {
			o.g.switchSegment()
		}
		at, b := o.g.take()
		err = o.s.Append(o.g.tli, at, b)
	case "sync":
		err = o.s.Sync()
	case "save":
		err = o.s.SaveControl(func(c *Control) { c.History, c.State = o.h, []byte("saved") })
	case "mark":
		o.mark = *o.g
	case "truncate": // to the mark
		o.g = &generator{tli: o.h.Last, pos: o.mark.pos, prev: o.mark.prev}
		err = o.s.Truncate(o.g.pos, o.h)
	case "promote": // at the mark
		o.h = twoTimelines(o.mark.pos)
	case "remove":
		_, err = o.s.RemoveBefore(o.g.pos)
	case "fence":
		_ = o.s.fenceWith(fmt.Errorf("test"))
	default:
		d.Fatalf(t, "unknown command")
	}
	if o.s != nil {
		o.s.background.Wait()
	}
	if err != nil {
		return err.Error() + "\n" + o.calls.take()
	}
	return o.calls.take()
}
