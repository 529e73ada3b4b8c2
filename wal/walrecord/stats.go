package walrecord

import (
	"fmt"
	"io"

	"github.com/walhaven/walhaven/wal"
)

// Count is how many records of a kind there are and what they take, in bytes.
type Count struct {
	Records     uint64 `json:"records"`
	RecordBytes uint64 `json:"record_bytes"` // without page images
	FPIBytes    uint64 `json:"fpi_bytes"`    // page images as stored
}

// Bytes is what the records take in all.
func (c Count) Bytes() uint64 { return c.RecordBytes + c.FPIBytes }

func (c *Count) add(o Count) {
	c.Records += o.Records
	c.RecordBytes += o.RecordBytes
	c.FPIBytes += o.FPIBytes
}

// Stats counts records as pg_waldump --stats does. The zero value is ready.
type Stats struct {
	Start, End wal.LSN // of the first and last record counted
	major      int
	ops        [256][16]Count
}

// Add counts one decoded record.
func (s *Stats) Add(r *Record) {
	if s.Start == 0 {
		s.Start = r.Start
	}
	s.End, s.major = r.End, r.Major
	op := r.Info >> 4
	if r.RMID == RmgrTransaction {
		op &= 0x07 // The highest bit says that more follows, not what.
	}
	fpi := uint64(r.FPILength())
	s.ops[r.RMID][op].add(Count{Records: 1, RecordBytes: uint64(r.Length) - fpi, FPIBytes: fpi})
}

// Total is the sum over all records.
func (s *Stats) Total() Count {
	var sum Count
	for id := range s.ops {
		sum.add(s.Rmgr(RmgrID(id)))
	}
	return sum
}

// Rmgr is the sum over one resource manager's records.
func (s *Stats) Rmgr(id RmgrID) Count {
	var sum Count
	for _, c := range s.ops[id] {
		sum.add(c)
	}
	return sum
}

// StatsRow is one line of the table: a resource manager, or one operation of it
// such as Heap/INSERT.
type StatsRow struct {
	Name string `json:"name"`
	Count
}

// Rows returns the table's lines: one a built-in resource manager, or, by
// operation, one for each kind of record that occurred. Custom resource
// managers have lines when they occurred.
func (s *Stats) Rows(byOperation bool) []StatsRow {
	var rows []StatsRow
	for id := range s.ops {
		rmid := RmgrID(id)
		if !byOperation {
			if c := s.Rmgr(rmid); c.Records > 0 || id < len(rmgrNames) {
				rows = append(rows, StatsRow{RmgrName(rmid), c})
			}
			continue
		}
		for op, c := range s.ops[id] {
			if c.Records == 0 {
				continue
			}
			r := Record{Major: s.major, RMID: rmid, Info: uint8(op << 4)}
			rows = append(rows, StatsRow{RmgrName(rmid) + "/" + Identify(&r), c})
		}
	}
	return rows
}

// WriteTable prints the statistics exactly as pg_waldump --stats, or
// --stats=record when byOperation is set.
func (s *Stats) WriteTable(w io.Writer, byOperation bool) error {
	const heading = "%-27s %20s %8s %20s %8s %20s %8s %20s %8s\n"
	b := fmt.Appendf(nil, "WAL statistics between %s and %s:\n", s.Start, s.End)
	b = fmt.Appendf(b, heading, "Type", "N", "(%)", "Record size", "(%)", "FPI size", "(%)", "Combined size", "(%)")
	b = fmt.Appendf(b, heading, "----", "-", "---", "-----------", "---", "--------", "---", "-------------", "---")
	total := s.Total()
	for _, row := range s.Rows(byOperation) {
		b = fmt.Appendf(b, "%-27s %20d (%6.2f) %20d (%6.2f) %20d (%6.2f) %20d (%6.2f)\n", row.Name,
			row.Records, percent(row.Records, total.Records),
			row.RecordBytes, percent(row.RecordBytes, total.RecordBytes),
			row.FPIBytes, percent(row.FPIBytes, total.FPIBytes),
			row.Bytes(), percent(row.Bytes(), total.Bytes()))
	}
	b = fmt.Appendf(b, "%-27s %20s %8s %20s %8s %20s %8s %20s\n",
		"", "--------", "", "--------", "", "--------", "", "--------")
	b = fmt.Appendf(b, "%-27s %20d %-9s%20d %-9s%20d %-9s%20d %-6s\n", "Total", total.Records, "",
		total.RecordBytes, fmt.Sprintf("[%.2f%%]", percent(total.RecordBytes, total.Bytes())),
		total.FPIBytes, fmt.Sprintf("[%.2f%%]", percent(total.FPIBytes, total.Bytes())),
		total.Bytes(), "[100%]")
	_, err := w.Write(b)
	return err
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
