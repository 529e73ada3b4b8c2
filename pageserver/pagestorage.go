package pageserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/pagestore"
)

// pagesFolder holds the layers of all timelines, below the data directory.
const pagesFolder = "pages"

// pageStorage is what the timelines' pages share: the store, the cache and one
// bound on their memory.
type pageStorage struct {
	options pagestore.Options
	dir     string
	cache   *pageread.Cache
	reading *pageread.Metrics
	ingest  *ingest.Metrics
	// maxRecord is the size in bytes of the largest record that is taken apart.
	maxRecord int
	workers   int // goroutines that take a timeline's records apart
	logger    *slog.Logger
	// waitTimeout is how long requests wait for WAL.
	waitTimeout time.Duration

	mu    sync.Mutex
	store *pagestore.Store
	err   error // why there is no store
}

// newPageStorage divides the memory that the process may take.
func newPageStorage(root string, o *Options, logger *slog.Logger) *pageStorage {
	c, reg := &o.Config, o.Registerer
	reading := pageread.NewMetrics(reg)
	m := divideMemory(int64(c.Memory))
	return &pageStorage{
		dir: filepath.Join(root, pagesFolder), logger: logger, waitTimeout: c.LSNWaitTimeout,
		cache: pageread.NewCache(m.pages, reading), reading: reading, ingest: ingest.NewMetrics(reg), maxRecord: int(m.record),
		workers: o.Processors,
		options: pagestore.Options{
			Logger: logger, Metrics: pagestore.NewMetrics(reg), Materialize: pagekey.Materialize,
			CacheSize: m.blocks, MemLayerSize: m.layer, MemTotal: memLayers * m.layer,
			MaxValueSize: int(m.value), FlushWriters: min(o.Processors, maxFlushWriters),
		},
	}
}

// open opens the store. A store that does not open leaves the server without
// pages; it takes WAL all the same.
func (p *pageStorage) open() {
	store, err := pagestore.Open(p.dir, p.options)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store, p.err = store, err; err != nil {
		p.logger.Error("no pages are served", "err", err)
	}
}

// use returns the store, or why there is none.
func (p *pageStorage) use() (*pagestore.Store, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store == nil && p.err == nil {
		return nil, errors.New("the page store is not open yet")
	}
	return p.store, p.err
}

// failure is why no pages are served, nil while they are.
func (p *pageStorage) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// run flushes and compacts in the background until ctx is done.
func (p *pageStorage) run(ctx context.Context) {
	store, err := p.use()
	if err != nil {
		return
	}
	if err := store.Run(ctx); err != nil {
		p.logger.Error("layers are not written in the background any more", "err", err)
	}
}

// close makes what was put durable, as far as that still works, and closes the
// store. Nobody may read any more.
func (p *pageStorage) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store == nil {
		return nil
	}
	store := p.store
	p.store, p.err = nil, pagestore.ErrClosed
	if err := store.Close(); err != nil {
		return fmt.Errorf("close page store: %w", err)
	}
	return nil
}
