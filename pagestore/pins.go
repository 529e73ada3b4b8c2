package pagestore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// PinKind says what a pin is for. The numbers are part of the index format.
type PinKind uint8

// The kinds of pins.
const (
	PinBranch PinKind = 1 // a branch begins there; Name is its ID
	PinLease  PinKind = 2 // a backup, mount or reader; may expire
)

// Pin keeps one LSN readable. Name and kind identify it.
type Pin struct {
	Kind    PinKind
	Name    string // at most 255 bytes
	LSN     wal.LSN
	Expires time.Time // whole seconds; zero: never
}

func (p *Pin) validate() error {
	switch {
	case p.Kind != PinBranch && p.Kind != PinLease:
		return fmt.Errorf("unknown kind %d", p.Kind)
	case p.Name == "" || len(p.Name) > maxPinName:
		return fmt.Errorf("name of %d bytes: 1 to %d are allowed", len(p.Name), maxPinName)
	case p.Kind == PinBranch && !p.Expires.IsZero():
		return errors.New("a branch's pin does not expire")
	}
	return nil
}

// expiry is Expires in seconds since 1970, 0 for never.
func (p *Pin) expiry() int64 {
	if p.Expires.IsZero() {
		return 0
	}
	return p.Expires.Unix()
}

func (p *Pin) setExpiry(seconds int64) {
	if seconds != 0 {
		p.Expires = time.Unix(seconds, 0)
	}
}

func (p *Pin) is(kind PinKind, name string) bool { return p.Kind == kind && p.Name == name }

// Pin keeps lsn readable under name until Unpin, or until expires unless that
// is zero. It is durable when Pin returns. The same name again moves the expiry,
// or the LSN. ErrCollected when the LSN is not readable any more.
func (t *Timeline) Pin(ctx context.Context, name string, lsn wal.LSN, expires time.Time) error {
	if err := t.pin(ctx, Pin{Kind: PinLease, Name: name, LSN: lsn, Expires: expires}); err != nil {
		return fmt.Errorf("pin %s of timeline %s as %q: %w", lsn, t.id, name, err)
	}
	invariant.Point(pointPinDone)
	return nil
}

// pin writes the pin into the index. An LSN above what is flushed is flushed
// first: a pin never names what a crash could take.
func (t *Timeline) pin(ctx context.Context, p Pin) error {
	if err := p.validate(); err != nil {
		return err
	}
	if last := t.LastLSN(); p.LSN > last {
		return fmt.Errorf("%w: the last one is %s", ErrNotYet, last)
	}
	if p.LSN > t.FlushedLSN() {
		if err := t.Flush(ctx); err != nil {
			return err
		}
	}
	return t.publish(func(x *index) error {
		if t.parent != nil && p.LSN < t.branchLSN {
			return fmt.Errorf("belongs to the parent: pin it in timeline %s", t.parent.id)
		}
		kept := p.LSN >= x.Cutoff || slices.ContainsFunc(x.Pins, func(o Pin) bool { return o.LSN == p.LSN })
		isBranch := t.parent != nil && p.LSN == t.branchLSN // The parent's pin keeps it.
		if p.LSN < x.Start || !kept && !isBranch {
			return fmt.Errorf("%w: the oldest one is %s", ErrCollected, x.Cutoff)
		}
		x.Pins = slices.DeleteFunc(x.Pins, func(o Pin) bool { return o.is(p.Kind, p.Name) })
		x.Pins = append(x.Pins, p)
		slices.SortFunc(x.Pins, func(a, b Pin) int { return cmp.Compare(a.LSN, b.LSN) })
		return nil
	}, t.applyPins)
}

func (t *Timeline) applyPins(x *index) {
	t.replace(func(m *layerMap) { m.pins, m.cutoff = x.Pins, x.Cutoff })
}

// Unpin gives the LSN that name pins back to garbage collection. No such pin is
// no error.
func (t *Timeline) Unpin(name string) error {
	if err := t.unpin(PinLease, name); err != nil {
		return fmt.Errorf("unpin %q of timeline %s: %w", name, t.id, err)
	}
	return nil
}

func (t *Timeline) unpin(kind PinKind, name string) error {
	if !slices.ContainsFunc(t.Pins(), func(p Pin) bool { return p.is(kind, name) }) {
		return nil
	}
	return t.publish(func(x *index) error {
		x.Pins = slices.DeleteFunc(x.Pins, func(p Pin) bool { return p.is(kind, name) })
		return nil
	}, t.applyPins)
}

// Pins lists the pins by LSN.
func (t *Timeline) Pins() []Pin {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.ix.Pins)
}
