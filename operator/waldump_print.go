package operator

import (
	"encoding/json"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// WaldumpRecord is a line of Waldump's jsonl output.
type WaldumpRecord struct {
	LSN     wal.LSN        `json:"lsn"`
	End     wal.LSN        `json:"end"`
	Prev    wal.LSN        `json:"prev"`
	Rmgr    string         `json:"rmgr"`
	Op      string         `json:"op"`
	XID     uint32         `json:"xid"`
	TopXID  uint32         `json:"top_xid,omitempty"`
	Origin  uint16         `json:"origin,omitempty"`
	Length  uint32         `json:"length"`     // of the whole record in bytes
	FPI     uint32         `json:"fpi_length"` // of that, page images
	Special bool           `json:"special_rel_update,omitempty"`
	Blocks  []WaldumpBlock `json:"blocks,omitempty"`
}

// WaldumpBlock is a block reference of a WaldumpRecord.
type WaldumpBlock struct {
	ID         uint8  `json:"id"`
	Tablespace uint32 `json:"tablespace"`
	Database   uint32 `json:"database"`
	Relation   uint32 `json:"relation"`
	Fork       string `json:"fork"`
	Block      uint32 `json:"block"`
	WillInit   bool   `json:"will_init,omitempty"`
	Image      string `json:"image,omitempty"` // "full_page" or "verification"
	ImageBytes int    `json:"image_bytes,omitempty"`
	DataBytes  int    `json:"data_bytes,omitempty"`
}

// print writes or counts d.record.
func (d *waldump) print() error {
	if d.opts.Stats != WaldumpRecords {
		d.stats.Add(&d.record)
		return nil
	}
	if d.opts.Output == "jsonl" {
		return d.printJSON(waldumpRecord(&d.record))
	}
	d.line = append(walrecord.AppendDescription(d.line[:0], &d.record), '\n')
	_, err := d.out.Write(d.line)
	return err
}

// finish writes the statistics and everything buffered.
func (d *waldump) finish() error {
	if d.opts.Stats != WaldumpRecords {
		if err := d.printStats(); err != nil {
			return err
		}
	}
	return d.out.Flush()
}

func (d *waldump) printStats() error {
	byOperation := d.opts.Stats == WaldumpStatsRecords
	if d.opts.Output != "jsonl" {
		return d.stats.WriteTable(d.out, byOperation)
	}
	for _, row := range d.stats.Rows(byOperation) {
		if err := d.printJSON(row); err != nil {
			return err
		}
	}
	return nil
}

func (d *waldump) printJSON(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = d.out.Write(append(line, '\n'))
	return err
}

func waldumpRecord(r *walrecord.Record) WaldumpRecord {
	out := WaldumpRecord{
		LSN: r.Start, End: r.End, Prev: r.Prev, Rmgr: walrecord.RmgrName(r.RMID), Op: walrecord.Identify(r),
		XID: r.XID, TopXID: r.TopXID, Origin: r.Origin, Length: r.Length, FPI: r.FPILength(),
		Special: r.Info&walrecord.InfoSpecialRelUpdate != 0,
	}
	for i := range r.Blocks {
		b := &r.Blocks[i]
		ref := WaldumpBlock{
			ID: b.ID, Tablespace: b.Rel.Tablespace, Database: b.Rel.Database, Relation: b.Rel.Relation,
			Fork: b.Fork.String(), Block: b.Block, WillInit: b.WillInit,
			ImageBytes: len(b.Image.Data), DataBytes: len(b.Data),
		}
		if b.HasImage {
			ref.Image = "verification"
			if b.Image.Apply {
				ref.Image = "full_page"
			}
		}
		out.Blocks = append(out.Blocks, ref)
	}
	return out
}
