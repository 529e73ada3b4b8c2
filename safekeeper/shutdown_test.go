package safekeeper_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What was committed in the last moment before SIGTERM is durable on the
// pageserver when the safekeeper has ended, with the writer still connected.
func TestShutdownBringsTheRestToThePageserver(t *testing.T) {
	o := builtOrigin(t, 4<<20)
	ps := startPageserver(t, 9)
	sk := startSafekeeper(t, 1, pushingTo(ps))
	sk.drain = patience // Of a busy machine; it ends when the pageserver has all.
	sk.restart()
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.ends[0], o.ends[0])
	ps.waitLSN("disk_consistent_lsn", o.ends[0])
	p.append(o.end(), o.end())
	sk.waitLSN("commit_lsn", o.end())
	sk.down()
	require.Equal(t, o.end(), ps.lsn("disk_consistent_lsn"))
}
