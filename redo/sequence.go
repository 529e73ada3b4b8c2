package redo

import "github.com/walhaven/walhaven/redo/page"

func redoSequence(_ *ctx, _ *page.Page) error { return errNoRedo }
