package protocol

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Options of a Server. Zero values are the defaults given.
type Options struct {
	Auth           Authenticator     // required
	TLS            *tls.Config       // nil: SSLRequest is answered N
	Logger         *slog.Logger      // nil discards
	Metrics        *Metrics          // nil counts nowhere
	Parameters     map[string]string // reported parameters, before Handler.Begin's
	MaxConnections int               // sessions past authentication's start, 1000
	AuthTimeout    time.Duration     // from accept to the first ReadyForQuery, 60 s
	IdleTimeout    time.Duration     // between commands, 0 is unlimited
	WriteTimeout   time.Duration     // a client that does not take an answer, 60 s
	MaxQuery       int               // bytes of a command's text, 1 MiB
	MaxCopyData    int               // bytes of an incoming CopyData payload, 1 MiB + 64 KiB
}

// Server accepts connections for one Handler.
type Server struct{}

// NewServer makes a server; it starts nothing.
func NewServer(h Handler, o Options) *Server { panic("todo") }

// Serve accepts from ln until ctx is done, then closes ln, ends all sessions
// and returns when they are gone. It may run for several listeners at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { panic("todo") }
