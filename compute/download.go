package compute

import (
	"context"
	"errors"
)

func npmDir(toolsDir string, major int) string   { return "" }
func download(ctx context.Context, w Want) error { return errors.New("todo") }
