package auth

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

var tokenTimeline = wal.TTID{Tenant: testTenant, Timeline: wal.TimelineID{4, 5, 6}}

// A token opens one connection, over a network that everybody listens in on, and
// has its maker's rights but for admin.
func TestTokenOpensOneConnection(t *testing.T) {
	tokens := NewTokens()
	host, port := listenTCP(t, elsewhere{Policy{Users: usersFile(t), Tokens: tokens}}, nil)
	address := "sslmode=disable host=" + host + " port=" + port
	as := func(token Token, password string) (string, error) {
		return connect(t, address+" user="+token.User+" password="+password)
	}
	token, err := tokens.Create(protocol.Identity{User: "ann", Admin: true}, tokenTimeline, time.Minute)
	require.NoError(t, err)
	requireRefused(t, second(as(token, "guess")), "28P01")
	requireRefused(t, second(as(Token{User: token.User + "x"}, token.Password)), "28P01")
	requireRefused(t, second(connect(t, address+" user=ann password="+token.Password)), "28P01")
	who, err := as(token, token.Password)
	require.NoError(t, err, "a guess has not used it up")
	require.Equal(t, "token ann "+testTenant.String(), who, "and it has not the right admin")
	requireRefused(t, second(as(token, token.Password)), "28P01")
}

// Of many who know a token one gets in.
func TestTokenIsUsedOnce(t *testing.T) {
	tokens := NewTokens()
	host, port := listenTCP(t, Policy{Tokens: tokens}, nil)
	token, err := tokens.Create(protocol.Identity{User: "ann"}, tokenTimeline, time.Minute)
	require.NoError(t, err)
	var in atomic.Int32
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			_, err := connect(t, "sslmode=disable host="+host+" port="+port+" user="+token.User+" password="+token.Password)
			if err == nil {
				in.Add(1)
			}
			return nil
		})
	}
	require.NoError(t, all.Wait())
	require.EqualValues(t, 1, in.Load())
}

func TestTokenInsideTLS(t *testing.T) {
	c := makeCertificates(t, 1)
	config, err := ServerTLS(TLSFiles{Certificate: c.cert, Key: c.key}, nil)
	require.NoError(t, err)
	tokens := NewTokens()
	host, port := listenTCP(t, elsewhere{Policy{Users: usersFile(t), Tokens: tokens, RequireTLS: true}}, config)
	for _, mode := range []string{"channel_binding=require", "channel_binding=disable"} {
		token, err := tokens.Create(protocol.Identity{User: "ann"}, tokenTimeline, time.Minute)
		require.NoError(t, err)
		_, err = connect(t, "sslmode=verify-ca sslrootcert="+c.ca+" host="+host+" port="+port+" user="+token.User+" password="+token.Password+" "+mode)
		require.NoError(t, err, mode)
	}
}

func TestTokensExpire(t *testing.T) {
	tokens := NewTokens()
	var now atomic.Int64
	tokens.now = func() time.Time { return time.Unix(now.Load(), 0) }
	host, port := listenTCP(t, Policy{Tokens: tokens}, nil)
	for late, opens := range map[int64]bool{1: true, 2: false} {
		token, err := tokens.Create(protocol.Identity{User: "ann"}, tokenTimeline, 2*time.Second)
		require.NoError(t, err)
		require.Equal(t, tokens.now().Add(2*time.Second), token.Expires)
		now.Add(late)
		_, err = connect(t, "sslmode=disable host="+host+" port="+port+" user="+token.User+" password="+token.Password)
		if opens {
			require.NoError(t, err)
		} else {
			requireRefused(t, err, "28P01")
		}
	}
}

// Whose tokens nobody uses is refused more, and the others are not.
func TestTokensAreBounded(t *testing.T) {
	tokens := NewTokens()
	now := time.Unix(1000, 0)
	tokens.now = func() time.Time { return now }
	create := func(user string) error {
		_, err := tokens.Create(protocol.Identity{User: user}, tokenTimeline, time.Second)
		return err
	}
	tokens.live = map[string]issued{}
	for i := range maxTokensOfUser {
		tokens.live[strings.Repeat("x", i)] = issued{identity: protocol.Identity{User: "greedy"}, expires: now.Add(time.Second)}
	}
	require.Equal(t, protocol.CodeLimitExceeded, protocol.SQLState(create("greedy")))
	require.NoError(t, create("modest"))
	now = now.Add(time.Second)
	require.NoError(t, create("greedy"))
	require.Len(t, tokens.live, 1)
}

// Who is restricted cannot get out of that by a token, nor make one last for ever.
func TestTokenGivesNoFurtherRight(t *testing.T) {
	tokens := NewTokens()
	other := wal.TenantID{9}
	for _, i := range []protocol.Identity{
		{User: "bob", Tenant: &other},
		{User: "bob", Tenant: &testTenant, Timeline: &wal.TimelineID{9}},
		{User: "bob", Method: methodToken, Tenant: &testTenant, Timeline: &tokenTimeline.Timeline, Writer: true},
	} {
		_, err := tokens.Create(i, tokenTimeline, time.Minute)
		require.Equal(t, protocol.CodeInsufficientRight, protocol.SQLState(err))
	}
	reader, err := tokens.Create(protocol.Identity{User: "bob", Tenant: &testTenant}, tokenTimeline, time.Minute)
	require.NoError(t, err)
	require.False(t, tokens.live[reader.User].identity.MayWrite())
	writer, err := tokens.Create(protocol.Identity{User: "ann", Admin: true}, tokenTimeline, time.Minute)
	require.NoError(t, err)
	require.True(t, tokens.live[writer.User].identity.MayWrite())
	require.False(t, tokens.live[writer.User].identity.Admin)
}
