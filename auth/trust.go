package auth

import (
	"context"
	"net"
	"os"
	"path/filepath"

	"github.com/walhaven/walhaven/protocol"
)

// Trust believes the name in the start-up packet of whoever can only come from
// this machine: over loopback, over a Unix socket that its owner alone can
// reach, or from within the process. Everybody else is refused unless Insecure.
type Trust struct {
	// Insecure trusts every address (--insecure-trust-network).
	Insecure bool
}

// Authenticate implements protocol.Authenticator.
func (t Trust) Authenticate(_ context.Context, s *protocol.Session, _ protocol.Exchange) (protocol.Identity, error) {
	if !t.Insecure && !Private(s.Remote, s.Local) {
		return protocol.Identity{}, protocol.Fatalf(protocol.CodeInvalidAuthorization,
			"connections from %s need authentication, and none is configured", s.Remote).
			WithHint("Give the server a users file or a JWT key, or connect over loopback.")
	}
	return protocol.Identity{User: s.User, Method: "trust", Admin: true}, nil
}

// Private says that a connection cannot have left the machine, nor come from
// another of its accounts over a Unix socket.
func Private(remote, local net.Addr) bool {
	switch a := remote.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		l, ok := local.(*net.UnixAddr)
		return ok && ownerOnly(l.Name)
	}
	// The two ends of a net.Pipe are in this process.
	return remote != nil && remote.Network() == "pipe"
}

// ownerOnly says that the socket, or the folder it lies in, is closed to group
// and others. Names in the abstract namespace are open to all.
func ownerOnly(socket string) bool {
	if socket == "" || socket[0] == '@' || socket[0] == 0 {
		return false
	}
	for _, path := range []string{socket, filepath.Dir(socket)} {
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 == 0 {
			return true
		}
	}
	return false
}
