package redo

import "github.com/walhaven/walhaven/redo/page"

func redoHash(_ *ctx, _ *page.Page) error { return errNoRedo }

func restoredHash(_ *ctx, _ *page.Page) error { return nil }
