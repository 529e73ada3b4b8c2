package sim

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// disk is a node's log and control file.
type disk interface {
	append(tli wal.TLI, at wal.LSN, b []byte) error
	sync() error
	truncate(to wal.LSN, h wal.TimelineHistory) error
	save(s consensus.State) error
	// crash loses what is not durable, or some of it, and starts anew.
	crash(r *rand.Rand) error
	close()
	// remove gives up WAL below a position. What is told of it may still be there.
	remove(below wal.LSN) error
	// view is what is there: the bytes from base on, how many of them are
	// durable, and the record positions.
	view() *model
}

// model is a log in memory that tells durable bytes from others.
type model struct {
	bytes   []byte
	durable int
	scan    walrecord.Scanner // of bytes
	flushed wal.LSN           // end of the last whole durable record
	start   wal.LSN
	oldest  wal.LSN // what lies below was removed; bytes keeps it for the checks
	state   consensus.State
}

func newModel(s consensus.State) *model {
	return &model{start: s.Start, state: s, scan: *newScanner(s.TLIHistory), flushed: base, oldest: base}
}

func (m *model) view() *model { return m }
func (m *model) close()       {}
func (m *model) end() wal.LSN { return base + wal.LSN(len(m.bytes)) }

func (m *model) rescan() error {
	m.scan = *newScanner(m.state.TLIHistory)
	if err := m.scan.Feed(base, m.bytes); err != nil {
		return violation("S3: WAL in the log is not what the PostgreSQL history says: %v", err)
	}
	return nil
}

// recordEnd is the end of the last whole record written; before the timeline's
// first record is due it is where the WAL begins.
func (m *model) recordEnd() wal.LSN {
	if m.end() < m.start {
		return base
	}
	return m.scan.RecordEnd()
}

// upto returns the WAL in front of l, which is at or below the end of the last
// whole record; padding behind XLOG_SWITCH that has not come yet is zero.
func (m *model) upto(l wal.LSN) []byte {
	n := int(l - base)
	if n <= len(m.bytes) {
		return m.bytes[:n]
	}
	return append(m.bytes[:len(m.bytes):len(m.bytes)], make([]byte, n-len(m.bytes))...)
}

// holds says whether the WAL in front of the end of b, as far as upto allows, is b.
func (m *model) holds(b []byte) bool {
	k := min(len(b), len(m.bytes))
	return bytes.Equal(m.bytes[:k], b[:k]) && bytes.Count(b[k:], []byte{0}) == len(b)-k
}

func (m *model) append(_ wal.TLI, at wal.LSN, b []byte) error {
	if at != m.end() {
		return fmt.Errorf("append at %s, the log ends at %s", at, m.end())
	}
	before := m.scan
	if err := m.scan.Feed(at, b); err != nil {
		m.scan = before
		return err
	}
	m.bytes = append(m.bytes, b...)
	return nil
}

func (m *model) sync() error {
	m.durable, m.flushed = len(m.bytes), m.recordEnd()
	return nil
}

func (m *model) truncate(to wal.LSN, h wal.TimelineHistory) error {
	n := int(to - base)
	if n > len(m.bytes) { // the padding of XLOG_SWITCH
		if to != m.scan.RecordEnd() {
			return fmt.Errorf("truncate to %s, the log ends at %s", to, m.end())
		}
		m.bytes = append(m.bytes, make([]byte, n-len(m.bytes))...)
	}
	m.bytes, m.durable = m.bytes[:n:n], n
	m.state.TLIHistory = h
	if err := m.rescan(); err != nil {
		return err
	}
	m.flushed = m.recordEnd()
	if to > m.start && m.flushed != to {
		return fmt.Errorf("truncate to %s, the record in front of it ends at %s", to, m.flushed)
	}
	return nil
}

func (m *model) save(s consensus.State) error {
	b, err := s.MarshalBinary()
	if err != nil {
		return err
	}
	m.state = consensus.State{}
	return m.state.UnmarshalBinary(b)
}

// remove has no files to round to. What lies in front of the first record goes with it.
func (m *model) remove(below wal.LSN) error {
	if below > m.start {
		m.oldest = max(m.oldest, below)
	}
	return nil
}

func (m *model) crash(r *rand.Rand) error {
	return m.recover(m.durable + r.IntN(len(m.bytes)-m.durable+1))
}

// recover is a start with n bytes in the log: it ends at a whole record.
func (m *model) recover(n int) error {
	m.bytes = m.bytes[:n:n]
	if err := m.rescan(); err != nil {
		return err
	}
	end := m.recordEnd()
	if end > m.end() { // XLOG_SWITCH without its padding
		m.bytes = append(m.bytes, make([]byte, end-m.end())...)
	}
	m.bytes = m.bytes[: end-base : end-base]
	err := m.rescan()
	m.durable, m.flushed = len(m.bytes), m.recordEnd()
	return err
}
