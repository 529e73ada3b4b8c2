package chaos

import "fmt"

// machine is one of the machines that programs run on.
type machine int

// The machines. A walproposer runs beside its PostgreSQL.
const (
	safekeeper1 machine = 1 + iota
	safekeeper2
	safekeeper3
	postgres1
	postgres2
	endOfMachines
)

func (m machine) String() string {
	if m.isPostgres() {
		return fmt.Sprintf("postgres-%d", m-postgres1+1)
	}
	return fmt.Sprintf("safekeeper-%d", int(m))
}

func (m machine) isPostgres() bool { return m >= postgres1 }

// link is the way of bytes from one machine to another.
type link struct{ from, to machine }

// network connects the machines and loses what the test wants to be lost.
type network interface {
	// String says how it works.
	String() string
	// local is the address that programs of m listen on, for others and, with
	// loopback, for m and the test alone.
	local(m machine) string
	loopback(m machine) string
	// address is where from reaches what listens on m.
	address(from, to machine) string
	// expose is told of each port before anybody connects to it.
	expose(m machine, port int) error
	// cut loses everything on a link, heal everything that is cut.
	cut(l link) error
	heal() error
	// on runs f so that the processes that it starts by itself, not by another
	// goroutine, run on m.
	on(m machine, f func()) error
}
