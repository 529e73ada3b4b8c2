package protocol

import (
	"context"

	"github.com/walhaven/walhaven/protocol/admin"
)

// RunCall runs a command of an admin.Table and writes its answer: columns, rows
// and tag. Columns are announced with the first row, so that an error is the
// whole answer of a command that fails before.
func RunCall(ctx context.Context, call *admin.Call, w *ResultWriter) error {
	columns := call.Columns()
	announced := len(columns) == 0
	announce := func() error {
		if announced {
			return nil
		}
		announced = true
		return w.Columns(columns...)
	}
	rows := 0
	err := call.Run(ctx, func(row ...any) error {
		if err := announce(); err != nil {
			return err
		}
		rows++
		return w.Row(row...)
	})
	if err != nil {
		return err
	}
	if err := announce(); err != nil {
		return err
	}
	return w.Complete(call.Tag(rows))
}
