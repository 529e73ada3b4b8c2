package protocol

import (
	"context"

	"github.com/walhaven/walhaven/protocol/admin"
)

// RunCall runs a command of an admin.Table and writes its answer: columns, rows
// and tag.
func RunCall(ctx context.Context, call *admin.Call, w *ResultWriter) error {
	columns := call.Columns()
	rows := 0
	if len(columns) > 0 {
		if err := w.Columns(columns...); err != nil {
			return err
		}
	}
	err := call.Run(ctx, func(row ...any) error {
		rows++
		return w.Row(row...)
	})
	if err != nil {
		return err
	}
	return w.Complete(call.Tag(rows))
}
