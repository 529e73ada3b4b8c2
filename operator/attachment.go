package operator

import (
	"errors"

	program "github.com/walhaven/walhaven/internal/daemon"
)

// errAttached keeps up and down from a server that they did not start.
var errAttached = program.Explain(errors.New("this cluster's PostgreSQL is attached: somebody else starts and stops it"), "",
	"Start its walproposer again with walhaven attach, leave with walhaven detach.")

// Attachment is what `walhaven attach` has done, or is about to do, to a server
// that somebody else runs. It is in the cluster file before the statement is run
// that it is about: so an attach that was interrupted goes on, and detach undoes
// no more than was done.
type Attachment struct {
	// Admin is the superuser's connection string, without a password.
	Admin string `toml:"admin"`

	Role string `toml:"role"`
	// RoleMade and SlotMade say that they were missing and are ours to drop.
	RoleMade bool `toml:"role_made"`

	// PostgresLog is the file of PostgreSQL's log that the walproposer is told.
	PostgresLog string `toml:"postgres_log,omitempty"`

	Slot     string `toml:"slot"`
	SlotMade bool   `toml:"slot_made"`

	// Names is what synchronous_standby_names was set to with ALTER SYSTEM; empty:
	// it was left alone.
	Names string `toml:"names,omitempty"`
	// NamesBefore is what postgresql.auto.conf said of it before; absent: nothing.
	NamesBefore *string `toml:"names_before,omitempty"`
}

// slot is the name of the replication slot in PostgreSQL.
func (c *Cluster) slot() string {
	if c.Attached != nil {
		return c.Attached.Slot
	}
	return defaultSlot
}

// defaultSlot is the walproposer's default.
const defaultSlot = "walhaven"

// standbyName is what the walproposer is called in synchronous_standby_names.
const standbyName = "walhaven"
