package walcmd

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
)

// Result is the answer to one command.
type Result struct {
	Columns []admin.Column
	Rows    [][]any
	Tag     string // command tag of CommandComplete
}

// Write sends the result to a client. A result without columns is its tag only.
func (r Result) Write(w *protocol.ResultWriter) error {
	if len(r.Columns) > 0 {
		if err := w.Columns(r.Columns...); err != nil {
			return fmt.Errorf("send columns: %w", err)
		}
	}
	for _, row := range r.Rows {
		if err := w.Row(row...); err != nil {
			return fmt.Errorf("send row: %w", err)
		}
	}
	if err := w.Complete(r.Tag); err != nil {
		return fmt.Errorf("send completion: %w", err)
	}
	return nil
}
