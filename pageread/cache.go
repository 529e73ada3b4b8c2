package pageread

import (
	"encoding/binary"
	"sync"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
)

const (
	cacheShards = 64
	// versionBytes is what a cached page takes: itself, its entry and its share
	// of the maps.
	versionBytes = page.Size + 256
)

// Cache keeps materialised pages of all timelines of a process, within a limit.
// A page is kept with the run of LSNs at which it is known to be the newest
// version: from its last change up to the highest LSN that it was looked up for.
type Cache struct {
	metrics *Metrics
	shards  [cacheShards]cacheShard
}

// cacheKey names a page of a timeline.
type cacheKey struct {
	timeline wal.TimelineID
	key      pagestore.Key
}

// version is a page as it was from one LSN up to another.
//
// Invariants, under the shard's lock:
//  1. from <= upto, and nothing changed the page in (from, upto].
//  2. page is never written to.
//  3. Versions of one key are linked newest first and do not overlap.
type version struct {
	key        cacheKey
	page       *page.Page
	from, upto wal.LSN
	older      *version
	used       bool // since the clock's hand came by
}

type cacheShard struct {
	mu    sync.Mutex
	heads map[cacheKey]*version
	ring  []*version // the clock, at most limit versions
	hand  int
	limit int
}

// NewCache makes a cache of at most limit bytes; metrics may be nil.
func NewCache(limit int64, m *Metrics) *Cache {
	if m == nil {
		m = NewMetrics(nil)
	}
	c := &Cache{metrics: m}
	for i := range c.shards {
		c.shards[i].heads = map[cacheKey]*version{}
		c.shards[i].limit = max(int(limit/versionBytes/cacheShards), 1)
	}
	return c
}

// shard spreads by relation and block: neighbours go to different shards.
func (c *Cache) shard(k *cacheKey) *cacheShard {
	h := binary.BigEndian.Uint32(k.key[20:])*0x9e3779b1 ^ binary.BigEndian.Uint32(k.key[12:])*0x85ebca6b ^
		uint32(k.key[19])<<7 ^ uint32(k.timeline[15])
	return &c.shards[(h^h>>15)%cacheShards]
}

// lookup returns the page that is newest at lsn, nil when that is not known. The
// caller vouches that it did not change in (unchanged, lsn].
func (c *Cache) lookup(k *cacheKey, lsn, unchanged wal.LSN) *page.Page {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := s.heads[*k]; v != nil; v = v.older {
		if v.from > lsn {
			continue
		}
		if lsn <= v.upto || unchanged <= v.upto {
			v.used = true
			return v.page
		}
		return nil
	}
	return nil
}

// base returns the newest version at or below lsn, what redo may start from, with
// its last change and up to where it is known to be the newest.
func (c *Cache) base(k *cacheKey, lsn wal.LSN) (p *page.Page, from, upto wal.LSN) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := s.heads[*k]; v != nil; v = v.older {
		if v.from <= lsn {
			v.used = true
			return v.page, v.from, v.upto
		}
	}
	return nil, 0, 0
}

// add notes that p, last changed at from, is the newest version at upto.
func (c *Cache) add(k *cacheKey, p *page.Page, from, upto wal.LSN) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	var newer *version
	v := s.heads[*k]
	for v != nil && v.from > from {
		newer, v = v, v.older
	}
	if v != nil && v.from == from {
		v.upto = max(v.upto, upto)
		return
	}
	v = &version{key: *k, page: p, from: from, upto: upto, older: v}
	if newer == nil {
		s.heads[*k] = v
	} else {
		newer.older = v
	}
	c.keep(s, v)
}

// keep puts v on the clock, in the place of one that was not used for a round.
func (c *Cache) keep(s *cacheShard, v *version) {
	if len(s.ring) < s.limit {
		s.ring = append(s.ring, v)
		c.metrics.cached.Add(versionBytes)
		return
	}
	for s.ring[s.hand].used {
		s.ring[s.hand].used = false
		s.hand = (s.hand + 1) % len(s.ring)
	}
	s.unlink(s.ring[s.hand])
	s.ring[s.hand] = v
	s.hand = (s.hand + 1) % len(s.ring)
	c.metrics.evicted.Inc()
}

func (s *cacheShard) unlink(v *version) {
	head := s.heads[v.key]
	if head == v {
		if v.older == nil {
			delete(s.heads, v.key)
		} else {
			s.heads[v.key] = v.older
		}
		return
	}
	for ; head != nil; head = head.older {
		if head.older == v {
			head.older = v.older
			return
		}
	}
}

// Forget drops every page of a timeline: it was removed, or begins anew.
func (c *Cache) Forget(id wal.TimelineID) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		kept := s.ring[:0]
		for _, v := range s.ring {
			if v.key.timeline == id {
				delete(s.heads, v.key)
				c.metrics.cached.Sub(versionBytes)
				continue
			}
			kept = append(kept, v)
		}
		clear(s.ring[len(kept):])
		s.ring, s.hand = kept, 0
		s.mu.Unlock()
	}
}
