package redo

import "github.com/walhaven/walhaven/redo/page"

func redoBtree(_ *ctx, _ *page.Page) error { return errNoRedo }
