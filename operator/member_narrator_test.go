package operator

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
)

// TestTroubleIsSaidWhenItLasts: no majority is of either generation while they
// switch, and that is no reason to be frightened.
func TestTroubleIsSaidWhenItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		n := narrator{progress: func(text string) { said = append(said, text) }}
		looks := func(d time.Duration) {
			for end := time.Now().Add(d); !time.Now().After(end); {
				n.trouble(ErrNoQuorum)
				<-time.After(memberLookEvery)
			}
		}
		n.say("CHANGE MEMBERS")
		for range 5 { // short, however often
			looks(troubleAfter - time.Second)
			n.fine()
			n.say("CHANGE MEMBERS")
		}
		require.Equal(t, []string{"CHANGE MEMBERS"}, said)
		looks(10 * time.Second)
		require.Equal(t, []string{"CHANGE MEMBERS", ErrNoQuorum.Error()}, said, "once")
		n.fine()
		n.say("CHANGE MEMBERS")
		require.Equal(t, []string{"CHANGE MEMBERS", ErrNoQuorum.Error(), "CHANGE MEMBERS"}, said, "it goes on")
	})
}

// TestSwitchingIsNotSilence: safekeepers that all answer are not called silent; either
// way there is no quorum, as exit codes have it.
func TestSwitchingIsNotSilence(t *testing.T) {
	silent := replication.Answer{Err: errors.New("connection refused")}
	err := lookFailed([]replication.Answer{{}, {}, {}}, headless.ErrNoQuorum)
	require.ErrorIs(t, err, errSwitching)
	require.ErrorIs(t, err, ErrNoQuorum)
	err = lookFailed([]replication.Answer{{}, silent, silent}, headless.ErrNoQuorum)
	require.NotErrorIs(t, err, errSwitching)
	require.ErrorIs(t, err, ErrNoQuorum)
	require.ErrorIs(t, lookFailed(nil, headless.ErrNoQuorum), ErrNoQuorum)
}
