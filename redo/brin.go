package redo

import "github.com/walhaven/walhaven/redo/page"

func redoBRIN(_ *ctx, _ *page.Page) error { return errNoRedo }
