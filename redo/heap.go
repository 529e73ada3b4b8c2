package redo

import "github.com/walhaven/walhaven/redo/page"

func redoHeap(_ *ctx, _ *page.Page) error { return errNoRedo }
