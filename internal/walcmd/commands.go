package walcmd

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// IdentifySystem answers IDENTIFY_SYSTEM for a timeline whose WAL ends at end.
func IdentifySystem(c walstore.Control, h wal.TimelineHistory, end wal.LSN) Result {
	tli := admin.Column{Name: "timeline", Type: admin.TypeInt4}
	if c.PGVersion >= 160000 {
		tli.Type = admin.TypeInt8
	}
	return Result{
		Columns: []admin.Column{{Name: "systemid"}, tli, {Name: "xlogpos"}, {Name: "dbname"}},
		Rows:    [][]any{{c.SystemID.String(), uint32(h.Last), end.String(), nil}},
		Tag:     "IDENTIFY_SYSTEM",
	}
}

// TimelineHistory answers TIMELINE_HISTORY. Timeline 1 has no file, as in
// PostgreSQL.
func TimelineHistory(h wal.TimelineHistory, tli wal.TLI) (Result, error) {
	name := wal.HistoryFileName(tli)
	part, ok := h.Upto(tli)
	if !ok || len(part.Ancestors) == 0 {
		return Result{}, protocol.Errorf(protocol.CodeUndefinedFile, `could not open file "pg_wal/%s": No such file or directory`, name)
	}
	return Result{
		Columns: admin.Text("filename", "content"),
		Rows:    [][]any{{name, part.Format()}},
		Tag:     "TIMELINE_HISTORY",
	}, nil
}

// CreateSlot is the answer to CREATE_REPLICATION_SLOT for a physical slot.
func CreateSlot(name string) Result {
	return Result{
		Columns: admin.Text("slot_name", "consistent_point", "snapshot_name", "output_plugin"),
		Rows:    [][]any{{name, "0/0", nil, nil}},
		Tag:     "CREATE_REPLICATION_SLOT",
	}
}

// ReadSlot is the answer to READ_REPLICATION_SLOT: a slot that does not exist
// is a row of NULLs, one that reserved nothing has no position.
func ReadSlot(exists bool, restart wal.LSN, h wal.TimelineHistory) Result {
	r := Result{
		Columns: []admin.Column{{Name: "slot_type"}, {Name: "restart_lsn"}, {Name: "restart_tli", Type: admin.TypeInt8}},
		Rows:    [][]any{{nil, nil, nil}},
		Tag:     "READ_REPLICATION_SLOT",
	}
	if exists {
		r.Rows[0][0] = "physical"
	}
	if exists && restart != 0 {
		r.Rows[0][1], r.Rows[0][2] = restart.String(), uint32(h.TLIAt(restart))
	}
	return r
}

// ColumnsOf describes the answer to a replication command for the extended
// protocol; nil for those without rows.
func ColumnsOf(cmd admin.ReplicationCommand) []admin.Column {
	switch cmd.(type) {
	case admin.IdentifySystem:
		return IdentifySystem(walstore.Control{}, wal.TimelineHistory{}, 0).Columns
	case admin.TimelineHistory:
		return admin.Text("filename", "content")
	case admin.CreateSlot:
		return CreateSlot("").Columns
	case admin.ReadSlot:
		return ReadSlot(false, 0, wal.TimelineHistory{}).Columns
	}
	return nil
}

// DigestColumns are those of WAL_DIGEST.
func DigestColumns() []admin.Column { return admin.Text("start_lsn", "end_lsn", "sha256") }

// ParseStreaming returns the replication command that stmt is, or nil when it
// is one of an admin table's: SHOW and the status commands have one answer in
// every kind of session.
func ParseStreaming(stmt string) (admin.ReplicationCommand, error) {
	// The table's SHOW takes more than a name.
	if word, _, _ := strings.Cut(stmt, " "); word == "SHOW" {
		return nil, nil
	}
	cmd, err := admin.ParseReplication(stmt)
	switch cmd.(type) {
	case admin.Show, admin.TimelineStatus, admin.WALDigest:
		return nil, nil
	}
	return cmd, err
}

// DigestCall answers the table's command WAL_DIGEST, whose arguments are named
// start and end.
func DigestCall(ctx context.Context, s *walstore.Store, call *admin.Call, emit admin.Emit) error {
	start, err := wal.ParseLSN(call.Args["start"])
	if err != nil {
		return err
	}
	end, err := wal.ParseLSN(call.Args["end"])
	if err != nil {
		return err
	}
	return Digest(ctx, s, wal.Range{Start: start, End: end}, emit)
}

// maxDigests bounds the rows of one WAL_DIGEST: 64 GiB of WAL.
const maxDigests = 64 << 10

// Digest answers WAL_DIGEST: a row for each MiB that the range touches.
func Digest(ctx context.Context, s *walstore.Store, r wal.Range, emit admin.Emit) error {
	if !r.Valid() {
		return protocol.Errorf(protocol.CodeInvalidParameter, "start %s lies behind end %s", r.Start, r.End)
	}
	if r.Len()>>20 > maxDigests {
		return protocol.Errorf(protocol.CodeProgramLimit, "range %s is too long", r).
			WithHint("Ask for at most %d MiB at once.", maxDigests)
	}
	digests, err := s.Digests(ctx, r)
	if err != nil {
		return protocol.Errorf(protocol.CodeUndefinedFile, "digest %s: %w", r, err)
	}
	for _, d := range digests {
		if err := emit(d.Range.Start, d.Range.End, hex.EncodeToString(d.SHA256[:])); err != nil {
			return err
		}
	}
	return nil
}

// Refused is the answer to replication commands of PostgreSQL that a keeper of
// WAL cannot give.
func Refused(cmd admin.ReplicationCommand) error {
	switch c := cmd.(type) {
	case admin.CreateSlot, admin.StartReplication:
		return protocol.Errorf(protocol.CodeNotInState, "logical decoding is not available here").
			WithHint("Connect to the PostgreSQL server itself.")
	case admin.BaseBackup:
		return protocol.Errorf(protocol.CodeFeatureNotSupported, "base backups are not available here").
			WithHint("Take the base backup from the PostgreSQL server itself.")
	default:
		return protocol.Errorf(protocol.CodeFeatureNotSupported, "%s is not supported", commandName(c))
	}
}

func commandName(cmd admin.ReplicationCommand) string {
	switch cmd.(type) {
	case admin.AlterSlot:
		return "ALTER_REPLICATION_SLOT"
	case admin.UploadManifest:
		return "UPLOAD_MANIFEST"
	}
	return fmt.Sprintf("%T", cmd)
}
