package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

const storeDir = "timeline"

// storeLog is the real log on a file system that can crash, and the model
// beside it: both must agree on every position.
type storeLog struct {
	wd    *World
	model *model
	fs    *vfs.MemFS
	store *walstore.Store
}

func (wd *World) newStoreLog(s consensus.State) (*storeLog, error) {
	l := &storeLog{wd: wd, model: newModel(s), fs: vfs.NewCrashableMem()}
	state, err := s.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return l, l.create(walstore.Control{
		ID: s.ID, SystemID: s.SystemID, PGVersion: s.PGVersion, SegmentSize: s.SegmentSize, Start: s.Start,
		History: s.TLIHistory, State: state,
	})
}

func (l *storeLog) view() *model { return l.model }

func (l *storeLog) close() {
	// Errors of closing a store that is thrown away say nothing.
	_ = l.store.Close()
}

// agree compares the store's positions with the model's.
func (l *storeLog) agree(what string) error {
	p, m := l.store.Positions(), l.model
	if p.Write != m.end() || p.WriteRecord != m.recordEnd() || p.FlushRecord != m.flushed {
		return fmt.Errorf("after %s the store is at %+v, expected write %s, record %s, flushed record %s",
			what, p, m.end(), m.recordEnd(), m.flushed)
	}
	return l.checkFolder(l.fs)
}

func (l *storeLog) remove(below wal.LSN) error {
	if _, err := l.store.RemoveBefore(below); err != nil {
		return violation("remove WAL below %s: %v", below, err)
	}
	if err := l.model.remove(below); err != nil {
		return err
	}
	return l.agree("removal")
}

func (l *storeLog) append(tli wal.TLI, at wal.LSN, b []byte) error {
	err, want := l.store.Append(tli, at, b), l.model.append(tli, at, b)
	if (err == nil) != (want == nil) {
		return violation("append of %d bytes at %s: store says %v, model %v", len(b), at, err, want)
	}
	if err != nil {
		return err
	}
	// What is left of a record that was cut short is synced before what follows.
	if p := l.store.Positions(); p.FlushRecord > l.model.flushed {
		l.model.durable, l.model.flushed = int(p.Flush-base), p.FlushRecord
	}
	return l.agree("append")
}

func (l *storeLog) sync() error {
	if err := l.store.Sync(); err != nil {
		return err
	}
	if err := l.model.sync(); err != nil {
		return err
	}
	return l.agree("sync")
}

func (l *storeLog) truncate(to wal.LSN, h wal.TimelineHistory) error {
	if err := l.store.Truncate(to, h); err != nil {
		return violation("truncate to %s: %v", to, err)
	}
	if err := l.model.truncate(to, h); err != nil {
		return err
	}
	return l.agree("truncate")
}

func (l *storeLog) save(s consensus.State) error {
	b, err := s.MarshalBinary()
	if err != nil {
		return err
	}
	if err := l.store.SaveControl(func(c *walstore.Control) { c.State, c.History = b, s.TLIHistory }); err != nil {
		return err
	}
	return l.model.save(s)
}

func (l *storeLog) crash(r *rand.Rand) error {
	percent := []int{0, 50, 100}[r.IntN(3)]
	fs := l.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r})
	l.close()
	if err := l.checkFolder(fs); err != nil {
		return err
	}
	store, err := walstore.Open(storeDir, l.options(fs))
	if err != nil {
		return violation("the store does not open after a crash: %v", err)
	}
	l.fs, l.store = fs, store
	end := store.Positions().Write
	m := l.model
	// A record whose last bytes are zeros is whole before these are written.
	if end < m.flushed {
		return violation("after a crash the WAL ends at %s; durable was %s, written %s", end, m.flushed, m.end())
	}
	if o := store.Oldest(); o > m.oldest {
		return violation("C12: after a crash the WAL begins at %s, to be removed was what lies below %s", o, m.oldest)
	}
	if n := int(end - base); n > len(m.bytes) {
		m.bytes = append(m.bytes, make([]byte, n-len(m.bytes))...)
	} else {
		m.bytes = m.bytes[:n:n]
	}
	if err := m.recover(len(m.bytes)); err != nil {
		return err
	}
	if err := m.state.UnmarshalBinary(store.Control().State); err != nil {
		return violation("the control file lost the state: %v", err)
	}
	if err := l.sameBytes(); err != nil {
		return err
	}
	return l.agree("crash")
}

func (l *storeLog) sameBytes() error {
	want := l.model.bytes[l.model.oldest-base:]
	got := make([]byte, len(want))
	if _, err := l.store.ReadAt(got, l.model.oldest); err != nil && len(got) > 0 {
		return violation("read the WAL back: %v", err)
	}
	if string(got) != string(want) {
		return violation("the WAL read back after a crash differs from what was written")
	}
	return nil
}
