package redo

import "github.com/walhaven/walhaven/redo/page"

func redoGin(_ *ctx, _ *page.Page) error { return errNoRedo }
