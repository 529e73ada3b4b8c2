package pushwal

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// NodeID names a safekeeper; 0 is no valid one.
type NodeID uint64

// Generation numbers the membership configurations of a timeline; 0 is the
// legacy "no configuration".
type Generation uint32

// Incarnation is drawn at random when a node's data directory is made, so that
// a node that lost its data is told from the one that held it. Zero when
// unknown.
type Incarnation [16]byte

// String is 32 lower-case hexadecimal digits.
func (i Incarnation) String() string { return hex.EncodeToString(i[:]) }

// IsZero says that the incarnation is unknown.
func (i Incarnation) IsZero() bool { return i == Incarnation{} }

// ParseIncarnation reads what String wrote.
func ParseIncarnation(s string) (i Incarnation, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(i) {
		return i, fmt.Errorf("parse incarnation %q: want 32 hexadecimal digits", s)
	}
	copy(i[:], b)
	return i, nil
}

// Instance names one life of a walproposer's supervisor. Zero when unknown.
type Instance [16]byte

// Headless is the Instance of every proposer without a server: it settles the end
// of WAL, and is no writer that another one would have to wait for.
var Headless = Instance{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

// String is 32 lower-case hexadecimal digits.
func (i Instance) String() string { return hex.EncodeToString(i[:]) }

// IsZero says that the instance is unknown.
func (i Instance) IsZero() bool { return i == Instance{} }

// MaxMembers bounds each set of a configuration; Neon's proposer takes no more
// than 31 safekeepers.
const MaxMembers = 64

// Member is one safekeeper of a configuration.
type Member struct {
	ID   NodeID
	Host string // without a NUL
	Port uint16

	// Incarnation is not part of Neon's wire form; it travels in our options
	// and in persisted state.
	Incarnation Incarnation
}

// Configuration is the membership of a timeline.
//
// Guarantees of a valid configuration (see Validate):
//  1. With a generation, Members is not empty.
//  2. No node is twice in one set.
type Configuration struct {
	Generation Generation
	Members    []Member
	NewMembers []Member // not empty = joint configuration
}

// Validate says which guarantee does not hold.
func (c Configuration) Validate() error {
	if c.Generation != 0 && len(c.Members) == 0 {
		return errors.New("membership configuration without members")
	}
	for _, set := range [][]Member{c.Members, c.NewMembers} {
		for i, m := range set {
			for _, o := range set[:i] {
				if o.ID == m.ID {
					return fmt.Errorf("node %d is twice in a membership configuration", m.ID)
				}
			}
		}
	}
	return nil
}

// Joint says whether two sets have to agree.
func (c Configuration) Joint() bool { return len(c.NewMembers) > 0 }

// All are the members of both sets; one of both is there twice.
func (c Configuration) All() []Member { return slices.Concat(c.Members, c.NewMembers) }

// Has says whether a node is in one of the sets, in whatever incarnation.
func (c Configuration) Has(node NodeID) bool {
	return slices.ContainsFunc(c.All(), func(m Member) bool { return m.ID == node })
}

// Majority says whether more than half of the members of each set are so. Without
// members there is none.
func (c Configuration) Majority(are func(Member) bool) bool {
	return most(c.Members, are) && (!c.Joint() || most(c.NewMembers, are))
}

func most(set []Member, are func(Member) bool) bool {
	n := 0
	for _, m := range set {
		if are(m) {
			n++
		}
	}
	return n > len(set)/2
}

// TermLSN says that the WAL from LSN on was written in Term.
type TermLSN struct {
	Term wal.Term
	LSN  wal.LSN
}

// TermHistory says which term wrote which part of the WAL; the last entry's term
// is the last log term.
//
// Guarantees of a valid history:
//  1. Terms rise.
//  2. Positions never fall.
type TermHistory []TermLSN

// Valid says whether the guarantees hold.
func (h TermHistory) Valid() bool {
	for i := 1; i < len(h); i++ {
		if h[i].Term <= h[i-1].Term || h[i].LSN < h[i-1].LSN {
			return false
		}
	}
	return true
}
