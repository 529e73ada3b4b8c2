package pageserver

import (
	"time"

	"github.com/walhaven/walhaven/wal"
)

// silenceLimit is how long the active pusher may bring nothing new while
// another announces more WAL.
const silenceLimit = time.Second

// pusher is one connected safekeeper as the chooser sees it.
type pusher struct {
	announced wal.LSN   // its commit LSN, as last heard
	progress  time.Time // when it last brought new bytes, or became active
}

// chooser picks the one active pusher of a timeline. It is pure: the caller
// holds a lock and brings the time. Several pushers at once would be harmless;
// one is thrift, and the switch to another is what the chooser is for.
type chooser[K comparable] struct {
	pushers map[K]*pusher
	active  K
	chosen  bool
	behind  time.Time // since when somebody announces more than is here; zero: nobody does
}

func newChooser[K comparable]() *chooser[K] {
	return &chooser[K]{pushers: make(map[K]*pusher)}
}

// join adds a pusher; the first one becomes active.
func (c *chooser[K]) join(k K, announced wal.LSN, now time.Time) (changed bool) {
	c.pushers[k] = &pusher{announced: announced, progress: now}
	if c.chosen {
		return false
	}
	c.activate(k, now)
	return true
}

// leave removes a pusher; when it was the active one the one that announced
// most follows at once.
func (c *chooser[K]) leave(k K, now time.Time) (changed bool) {
	delete(c.pushers, k)
	if !c.chosen || c.active != k {
		return false
	}
	c.chosen = false
	var best K
	var found *pusher
	for k, p := range c.pushers {
		if found == nil || p.announced > found.announced {
			best, found = k, p
		}
	}
	if found != nil {
		c.activate(best, now)
	}
	return true
}

// heard notes what k announced and whether it brought bytes beyond what the
// timeline had, and takes the work from an active pusher that has brought
// nothing for silenceLimit although k has more than have, the local end.
func (c *chooser[K]) heard(k K, announced wal.LSN, broughtNew bool, have wal.LSN, now time.Time) (changed bool) {
	p := c.pushers[k]
	if p == nil {
		return false
	}
	p.announced = max(p.announced, announced)
	if broughtNew {
		p.progress = now
	}
	c.noteBehind(have, now)
	if !c.chosen || c.active == k || p.announced <= have {
		return false
	}
	active := c.pushers[c.active]
	if now.Sub(active.progress) < silenceLimit || now.Sub(c.behind) < silenceLimit {
		return false
	}
	c.activate(k, now)
	return true
}

// noteBehind starts the clock when the first pusher announces more than have:
// an active pusher that was idle because there was nothing gets its full time.
func (c *chooser[K]) noteBehind(have wal.LSN, now time.Time) {
	for _, p := range c.pushers {
		if p.announced > have {
			if c.behind.IsZero() {
				c.behind = now
			}
			return
		}
	}
	c.behind = time.Time{}
}

// isActive says whether k is to push.
func (c *chooser[K]) isActive(k K) bool { return c.chosen && c.active == k }

func (c *chooser[K]) activate(k K, now time.Time) {
	c.active, c.chosen = k, true
	c.pushers[k].progress = now
}
