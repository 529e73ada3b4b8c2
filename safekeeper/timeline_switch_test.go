package safekeeper_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// switchedOrigin is WAL whose PostgreSQL was promoted at a record end inside a
// segment.
func switchedOrigin(t *testing.T) (o *origin, h wal.TimelineHistory) {
	t.Helper()
	o = &origin{systemID: 7_000_000_000_000_000_002, version: 170005, segment: 1 << 20}
	b := walrecordtest.New(walrecordtest.Options{Start: 5 << 20, SegmentSize: o.segment, Major: 17, SystemID: o.systemID, TLI: 1})
	write := func(n int) wal.LSN {
		for to := len(b.Bytes()) + n; len(b.Bytes()) < to; {
			start, end := b.Message(3000)
			if o.start == 0 {
				o.start = start
			}
			o.ends = append(o.ends, end)
		}
		return o.ends[len(o.ends)-1]
	}
	at := write(1_500_000)
	b.SetTLI(2)
	write(1_500_000)
	o.from, o.data = b.Start(), b.Bytes()
	o.data = o.data[:o.end()-o.from]
	return o, wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: at}}}
}

// A promoted server's WAL goes through everything that moves WAL: proposer,
// push to the pageserver, a peer that catches up, START_REPLICATION.
func TestPromotionIsFollowedEverywhere(t *testing.T) {
	o, h := switchedOrigin(t)
	at := h.Ancestors[0].Switch
	ps := startPageserver(t, 9)
	a, b := startSafekeeper(t, 1, pushingTo(ps)), startSafekeeper(t, 2, nil)
	o.found(t, []*node{a, b})

	// The old server ends, acknowledged, a little below the switch point.
	p := propose(t, a, o, 1, nil)
	below := o.ends[0]
	for _, end := range o.ends {
		if end < at {
			below = end
		}
	}
	p.append(below, 0)
	p.waitFlush(below)
	p.append(below, below)
	ps.waitLSN("disk_consistent_lsn", below)
	p.close()

	p = proposeTLI(t, a, o, 2, h)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	a.waitLSN("commit_lsn", o.end())
	p.close()

	whole := wal.Range{Start: o.from, End: o.end()}
	ps.waitLSN("disk_consistent_lsn", o.end())
	requireSameWAL(t, whole, a, ps)
	b.waitLSN("commit_lsn", o.end())
	requireSameWAL(t, whole, a, b)
	for _, n := range []*node{a, b, ps} {
		row := n.mustQuery("IDENTIFY_SYSTEM")[0]
		require.Equal(t, "2", row["timeline"])
		history := n.mustQuery("TIMELINE_HISTORY 2")[0]
		require.Equal(t, "00000002.history", history["filename"])
		require.Contains(t, history["content"], "1\t"+at.String()+"\t")
		requireServed(t, n, o, h)
		n.restart()
		require.Equal(t, "2", n.mustQuery("IDENTIFY_SYSTEM")[0]["timeline"])
	}
}

// requireServed streams the whole WAL as a standby does: timeline 1 up to its
// end, then timeline 2 from the start of the segment with the switch.
func requireServed(t *testing.T, n *node, o *origin, h wal.TimelineHistory) {
	t.Helper()
	at := h.Ancestors[0].Switch
	options := n.options()
	options.Params["replication"] = "true"
	read := func(from wal.LSN, tli wal.TLI, end wal.LSN) error {
		client, err := replication.Connect(t.Context(), n.conninfo(), options)
		require.NoError(t, err)
		defer client.Close()
		r, err := receiver.Start(t.Context(), client, from, receiver.Options{TLI: tli})
		require.NoError(t, err)
		defer r.Close()
		for from < end {
			pos, data, err := r.Next()
			if err != nil {
				return err
			}
			require.Equal(t, from, pos)
			require.Equal(t, o.bytes(wal.Range{Start: pos, End: pos + wal.LSN(len(data))}), data)
			from += wal.LSN(len(data))
		}
		return nil
	}
	var over *receiver.EndOfTimeline
	require.ErrorAs(t, read(o.from, 1, at+1), &over)
	require.Equal(t, receiver.EndOfTimeline{Next: 2, Start: at}, *over)
	require.NoError(t, read(o.segment.SegmentStart(at), 2, o.end()))
}

// proposeTLI wins a term for a server with a PostgreSQL history.
func proposeTLI(t *testing.T, n *node, o *origin, term wal.Term, h wal.TimelineHistory) *proposer {
	t.Helper()
	p := dialProposerTLI(t, n, o, term, h.Last)
	vote := p.vote()
	p.pos, p.history = vote.FlushLSN, h
	terms := append(append(pushwal.TermHistory{}, vote.History...), pushwal.TermLSN{Term: term, LSN: vote.FlushLSN})
	p.send(p.codec.AppendProposerElected(nil, &pushwal.ProposerElected{
		Generation: 1, Term: term, StartStreamingAt: p.pos, History: terms, TLIHistory: h,
	}))
	go p.listen()
	t.Cleanup(p.close)
	return p
}
