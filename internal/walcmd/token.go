package walcmd

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
)

// defaultTokenTTL is how long a token waits to be used if nothing else is said.
const defaultTokenTTL = time.Minute

// TokenCommands are CREATE TOKEN, or nothing without tokens. timelineOf says
// which timeline a session talks about; it need not be there yet.
func TokenCommands(tokens *auth.Tokens, timelineOf func(*protocol.Session) (wal.TTID, error)) []admin.Command {
	if tokens == nil {
		return nil
	}
	return []admin.Command{{
		Name: "CREATE TOKEN", Scope: admin.ScopeTimeline, Changes: true, Tag: "CREATE TOKEN",
		Columns: admin.Text("user_name", "password", "expires_at"),
		Options: []admin.Arg{{
			Name: "expires_in", Kind: admin.KindUint32, Optional: true,
			Help: "Seconds until it expires unless it is used, 60 by default, 3600 at most.",
		}},
		Help: "A user name and a password that open one connection to this timeline, with the session's rights but without admin.",
		Handler: func(_ context.Context, call *admin.Call, emit admin.Emit) error {
			session := call.Target.(*protocol.Session)
			id, err := timelineOf(session)
			if err != nil {
				return err
			}
			ttl, err := tokenTTL(call.Options["expires_in"])
			if err != nil {
				return err
			}
			token, err := tokens.Create(session.Identity, id, ttl)
			if err != nil {
				return err
			}
			return emit(token.User, token.Password, token.Expires.UTC().Format(time.RFC3339))
		},
	}}
}

func tokenTTL(seconds string) (time.Duration, error) {
	if seconds == "" {
		return defaultTokenTTL, nil
	}
	n, err := strconv.ParseUint(seconds, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("expires_in: %w", err) // the table has checked it
	}
	ttl := time.Duration(n) * time.Second
	if ttl <= 0 || ttl > auth.MaxTokenTTL {
		return 0, protocol.Errorf(protocol.CodeInvalidParameter, "expires_in must lie between 1 and %d seconds", int(auth.MaxTokenTTL.Seconds()))
	}
	return ttl, nil
}

// TTID is the timeline that t names by IDs, whether it is here or not.
func (t Target) TTID() (id wal.TTID, ok bool) {
	tenant, err := wal.ParseTenantID(t.Tenant)
	if err != nil {
		return id, false
	}
	timeline, err := wal.ParseTimelineID(t.Timeline)
	if err != nil {
		return id, false
	}
	return wal.TTID{Tenant: tenant, Timeline: timeline}, true
}
