package redo

import "github.com/walhaven/walhaven/redo/page"

func redoHeap2(_ *ctx, _ *page.Page) error { return errNoRedo }
