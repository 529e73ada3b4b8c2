package compute

import (
	"context"
	"errors"
)

func download(ctx context.Context, w Want) error { return errors.New("todo") }
