package receiver

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

// command writes START_REPLICATION so that PostgreSQL, our safekeepers and
// Neon's understand it.
func command(at wal.LSN, o Options) string {
	var b strings.Builder
	b.WriteString("START_REPLICATION")
	if o.Slot != "" {
		b.WriteString(` SLOT "` + strings.ReplaceAll(o.Slot, `"`, `""`) + `"`)
	}
	b.WriteString(" PHYSICAL " + at.String())
	if o.TLI != 0 {
		fmt.Fprintf(&b, " TIMELINE %d", o.TLI)
	}
	if o.Term != nil {
		fmt.Fprintf(&b, " (term='%d')", *o.Term)
	}
	return b.String()
}

// endOfTimeline reads the row that follows the end of a historic timeline. A
// stream that ends without it has been ended by the server.
func endOfTimeline(res protocol.Result) error {
	if len(res.Rows) == 0 {
		return protocol.ErrStreamComplete
	}
	if len(res.Rows) != 1 || len(res.Rows[0]) < 2 {
		return fmt.Errorf("end of timeline: %d rows instead of one of two columns", len(res.Rows))
	}
	next, err := strconv.ParseUint(string(res.Rows[0][0]), 10, 32)
	if err != nil {
		return fmt.Errorf("end of timeline: %w", err)
	}
	start, err := wal.ParseLSN(string(res.Rows[0][1]))
	if err != nil {
		return fmt.Errorf("end of timeline: %w", err)
	}
	return &EndOfTimeline{Next: wal.TLI(next), Start: start}
}
