package pageserver

import (
	"context"
	"errors"
	"time"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
)

// pinCommands keep moments readable that would leave the window.
func (s *Server) pinCommands() []admin.Command {
	return []admin.Command{
		{
			Name: "PIN", Scope: admin.ScopeAdmin, Changes: true, Tag: "PIN",
			Help: "Keep a moment readable, whatever the window: durable when this returns. The same name again moves it.",
			Args: []admin.Arg{
				{Name: "name", Help: "Name of the pin, 1 to 255 bytes."},
				{Name: "at", Keyword: "AT", Help: "The moment, as in SHOW LSN."},
				{Name: "expires", Keyword: "FOR", Optional: true, Help: "How long, as in '36h'; without it until UNPIN."},
			},
			Columns: admin.Text("name", "lsn", "expires"), Handler: s.onPast(pin),
		},
		{
			Name: "UNPIN", Scope: admin.ScopeAdmin, Changes: true, Tag: "UNPIN", Help: "Give a pinned moment back to garbage collection.",
			Args: []admin.Arg{{Name: "name", Help: "Name of the pin."}},
			Handler: s.onPast(func(_ context.Context, p past, call *admin.Call, _ admin.Emit) error {
				return p.tl.Unpin(call.Args["name"])
			}),
		},
		{
			Name: "SHOW PINS", Scope: admin.ScopeTimeline, Tag: "SHOW", Help: "Moments that are kept whatever the window.",
			Columns: admin.Text("kind", "name", "lsn", "expires"), Handler: s.onPast(showPins),
		},
	}
}

func pin(ctx context.Context, p past, call *admin.Call, emit admin.Emit) error {
	m, err := p.resolve(ctx, call.Args["at"])
	if err != nil {
		return err
	}
	var until time.Time
	if text := call.Args["expires"]; text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return protocol.Errorf(protocol.CodeInvalidParameter, "invalid duration %q", text)
		}
		until = time.Now().Add(d).Truncate(time.Second)
	}
	err = p.tl.Pin(ctx, call.Args["name"], m.lsn, until)
	switch {
	case errors.Is(err, pagestore.ErrCollected):
		return p.outside("LSN " + m.lsn.String())
	case err != nil:
		return err
	}
	return emit(call.Args["name"], m.lsn, expiryOf(until))
}

func expiryOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func showPins(_ context.Context, p past, _ *admin.Call, emit admin.Emit) error {
	for _, pin := range p.tl.Pins() {
		kind := "lease"
		if pin.Kind == pagestore.PinBranch {
			kind = "branch"
		}
		if err := emit(kind, pin.Name, pin.LSN, expiryOf(pin.Expires)); err != nil {
			return err
		}
	}
	return nil
}
