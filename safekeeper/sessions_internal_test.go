package safekeeper

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFilling: WAL stays for a member that is filled from here, and for a while after
// the stream to it has gone.
func TestFilling(t *testing.T) {
	s, now := newSessionSet(), time.Now()
	require.Zero(t, s.filling(now))
	standby := &stream{kind: kindSender, sent: 50}
	fast, slow := &stream{kind: kindSender, fills: true, sent: 700}, &stream{kind: kindSender, fills: true, sent: 300}
	for _, st := range []*stream{standby, fast, slow} {
		s.add(st)
	}
	require.EqualValues(t, 300, s.filling(now))
	slow.noteSent(400)
	s.remove(slow)
	s.remove(standby)
	require.EqualValues(t, 400, s.filling(time.Now()), "it comes again")
	require.EqualValues(t, 700, s.filling(time.Now().Add(fillGrace)), "it did not")
	s.remove(fast)
	require.Zero(t, s.filling(time.Now().Add(fillGrace)))
}
