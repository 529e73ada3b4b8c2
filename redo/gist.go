package redo

import "github.com/walhaven/walhaven/redo/page"

func redoGist(_ *ctx, _ *page.Page) error { return errNoRedo }

func restoredGist(_ *ctx, _ *page.Page) error { return nil }
