package redo

import "github.com/walhaven/walhaven/redo/page"

func redoGeneric(_ *ctx, _ *page.Page) error { return errNoRedo }
