package walstore

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// callLog is a file system that writes down the calls that change a disk or make
// it durable. An open file is named as it is called at that moment.
type callLog struct {
	vfs.FS
	mu   sync.Mutex
	b    strings.Builder
	open map[string][]*loggedFile
}

func (l *callLog) log(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
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

func (l *callLog) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	verb := "open"
	if _, err := l.Stat(name); err != nil {
		verb = "create"
	}
	l.log("%s %s", verb, name)
	f, err := l.FS.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	file := &loggedFile{File: f, l: l, name: name}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[name] = append(l.open[name], file)
	return file, nil
}

func (l *callLog) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	return &loggedFile{File: f, l: l, name: name}, err
}

func (l *callLog) Rename(from, to string) error {
	l.log("rename %s -> %s", from, to)
	l.mu.Lock()
	for _, f := range l.open[from] {
		f.name = to
	}
	l.open[to] = append(l.open[to], l.open[from]...)
	delete(l.open, from)
	l.mu.Unlock()
	return l.FS.Rename(from, to)
}

func (l *callLog) Remove(name string) error {
	if _, err := l.Stat(name); err == nil {
		l.log("remove %s", name)
	}
	return l.FS.Remove(name)
}

func (l *callLog) RemoveAll(name string) error {
	l.log("remove all %s", name)
	return l.FS.RemoveAll(name)
}

func (l *callLog) MkdirAll(name string, mode os.FileMode) error {
	l.log("mkdir %s %#o", name, mode)
	return l.FS.MkdirAll(name, mode)
}

type loggedFile struct {
	vfs.File
	l    *callLog
	name string
}

func (f *loggedFile) called() string {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	return f.name
}

func (f *loggedFile) WriteAt(p []byte, off int64) (int, error) {
	zero := ""
	if len(bytes.Trim(p, "\x00")) == 0 {
		zero = " zeroes"
	}
	f.l.log("write %s at %d: %d%s", f.called(), off, len(p), zero)
	return f.File.WriteAt(p, off)
}

func (f *loggedFile) Sync() error {
	f.l.log("fsync %s", f.called())
	return f.File.Sync()
}

func (f *loggedFile) SyncData() error {
	f.l.log("fdatasync %s", f.called())
	return f.File.SyncData()
}

// TestOrderOfCalls compares the order of writes, fsyncs and renames with the
// files in testdata/order. Run with -rewrite to record a new order, and look at
// the difference: a lost fsync shows there.
func TestOrderOfCalls(t *testing.T) {
	datadriven.Walk(t, "testdata/order", func(t *testing.T, path string) {
		o := orderTest{t: t, g: newGenerator(), h: wal.TimelineHistory{Last: 1}}
		o.calls = &callLog{FS: vfs.NewMem(), open: map[string][]*loggedFile{}}
		o.o.FS = o.calls
		defer func() { require.NoError(t, o.s.Close()) }()
		datadriven.RunTest(t, path, o.run)
	})
}

// make makes the WAL of an append.
func (o *orderTest) make(t *testing.T, d *datadriven.TestData) {
	var n int
	if d.Cmd == "append-switch" {
		o.g.switchSegment()
		return
	}
	d.ScanArgs(t, "n", &n)
	if d.Cmd == "append-cut-short" {
		o.g.cutShort(n)
		return
	}
	o.g.record(n, 1)
}

type orderTest struct {
	t     *testing.T
	o     Options
	calls *callLog
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
	case "append", "append-switch", "append-cut-short":
		o.make(t, d)
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
