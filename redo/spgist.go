package redo

import "github.com/walhaven/walhaven/redo/page"

func redoSPGist(_ *ctx, _ *page.Page) error { return errNoRedo }
