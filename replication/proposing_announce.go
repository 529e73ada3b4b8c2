package replication

import "time"

// announceAfter is how long after a commit the peers are told of it by a message
// of its own. While WAL flows each piece carries the newest commit position, so
// that a message for it would wake every process on the way for nothing.
const announceAfter = 2 * time.Millisecond

// announceWithin is how long after the last commit of a long burst they are told:
// to look every announceAfter whether it goes on would cost more than to write WAL.
const announceWithin = 16 * time.Millisecond

// announceSoon has Run announce the commit position when it has not moved for a
// moment.
func (d *Proposing) announceSoon() {
	if d.announcing.CompareAndSwap(false, true) {
		d.pending <- struct{}{} // There is room: Run took the last one before announcing became false.
	}
}

// announceNow has the links announce the commit position, whatever they send
// besides.
func (d *Proposing) announceNow() {
	d.announcing.Store(false)
	d.wakeLinks(true)
}

// Announce has the links announce a commit position that waits for that, for
// there will be no WAL to carry it.
func (d *Proposing) Announce() {
	if d.announcing.Load() { // It stays so, and Run does the same in a moment.
		d.wakeLinks(true)
	}
}
