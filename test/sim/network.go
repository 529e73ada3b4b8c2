package sim

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
)

// codec is what all connections speak.
var codec = pushwal.Codec{Version: pushwal.Version3, Walhaven: true}.Negotiated(pushwal.Revision)

// link is one connection. When its writer gives it up, what it sent may still
// arrive.
type link struct {
	conn   consensus.ConnID
	w      *writer
	n      *node
	peer   int
	open   bool     // the writer still uses it
	toNode [][]byte // encoded messages
	toProp [][]byte
}

// take removes the next message of a queue; now and then a later one, or the
// next one without removing it.
func (wd *World) take(q *[][]byte) []byte {
	i := 0
	if len(*q) > 1 && wd.chance(wd.cfg.Disorder) {
		i = wd.rng.IntN(min(len(*q), 3))
		wd.stats.count("network: reordered", boolInt(i > 0))
	}
	m := (*q)[i]
	if wd.chance(wd.cfg.Disorder) {
		wd.stats.count("network: duplicated", 1)
		return m
	}
	*q = slices.Delete(*q, i, i+1)
	return m
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// deliver moves one message of a random link.
func (wd *World) deliver() { wd.deliverOf(nil, nil) }

// deliverOf moves one message of a random link between a writer and a node, nil = any.
func (wd *World) deliverOf(w *writer, n *node) {
	var ready []*link
	for _, l := range wd.links {
		if (w == nil || l.w == w) && (n == nil || l.n == n) && !wd.cut[[2]int{l.w.id, int(l.n.id)}] && l.n.up && (len(l.toNode) > 0 || len(l.toProp) > 0) {
			ready = append(ready, l)
		}
	}
	if len(ready) == 0 {
		return
	}
	l := ready[wd.rng.IntN(len(ready))]
	if len(l.toNode) > 0 && (len(l.toProp) == 0 || wd.rng.IntN(2) == 0) {
		wd.deliverToNode(l, wd.take(&l.toNode))
	} else {
		wd.deliverToWriter(l, wd.take(&l.toProp))
	}
	wd.sweep()
}

func (wd *World) deliverToNode(l *link, b []byte) {
	m, err := decodeProposer(b)
	if err != nil {
		wd.fail("decode what a proposer sent: %v", err)
		return
	}
	wd.stats.count("to node: "+name(m), 1)
	l.n.handle(l, m)
}

func (wd *World) deliverToWriter(l *link, b []byte) {
	if !l.open || l.w.dead {
		return
	}
	m, err := decodeAcceptor(b)
	if err != nil {
		wd.fail("decode what an acceptor sent: %v", err)
		return
	}
	wd.stats.count("to proposer: "+name(m), 1)
	l.w.handle(l, m)
}

// sweep forgets connections that nothing can come of any more.
func (wd *World) sweep() {
	wd.links = slices.DeleteFunc(wd.links, func(l *link) bool {
		gone := !l.open && (len(l.toNode) == 0 || !l.n.up)
		if gone && l.n.up {
			l.n.acceptor.Disconnected(l.conn)
		}
		return gone
	})
}

// breakLink is the end of a connection for its writer. Messages to the node
// stay under way unless lost is set.
func (wd *World) breakLink(l *link, lost bool) {
	if lost {
		l.toNode = nil
	}
	if !l.open {
		return
	}
	l.open, l.toProp = false, nil
	if l.w.links[l.peer] == l {
		l.w.links[l.peer] = nil
		l.w.at[l.peer] = 0
		if !l.w.dead {
			l.w.step(&consensus.Disconnected{Peer: l.peer})
		}
	}
}

func encode(m any) []byte {
	switch m := m.(type) {
	case *pushwal.ProposerGreeting:
		return codec.AppendProposerGreeting(nil, m)
	case *pushwal.VoteRequest:
		return codec.AppendVoteRequest(nil, m)
	case *pushwal.ProposerElected:
		return codec.AppendProposerElected(nil, m)
	case *pushwal.AppendRequest:
		return append(codec.AppendAppendRequestHeader(nil, m), m.WAL...)
	case *pushwal.ConfigurationRequest:
		return codec.AppendConfigurationRequest(nil, m)
	case *pushwal.ConfigurationResponse:
		return codec.AppendConfigurationResponse(nil, m)
	case *pushwal.AcceptorGreeting:
		return codec.AppendAcceptorGreeting(nil, m)
	case *pushwal.VoteResponse:
		return codec.AppendVoteResponse(nil, m)
	case *pushwal.AppendResponse:
		return codec.AppendAppendResponse(nil, m)
	}
	panic("sim: unknown message")
}

func decodeProposer(b []byte) (pushwal.ProposerMessage, error) {
	switch pushwal.Kind(b) {
	case pushwal.KindGreeting:
		m := new(pushwal.ProposerGreeting)
		return m, codec.DecodeProposerGreeting(b, m)
	case pushwal.KindVote:
		m := new(pushwal.VoteRequest)
		return m, codec.DecodeVoteRequest(b, m)
	case pushwal.KindElected:
		m := new(pushwal.ProposerElected)
		return m, codec.DecodeProposerElected(b, m)
	case pushwal.KindConfiguration:
		m := new(pushwal.ConfigurationRequest)
		return m, codec.DecodeConfigurationRequest(b, m)
	}
	m := new(pushwal.AppendRequest)
	return m, codec.DecodeAppendRequest(b, m)
}

func decodeAcceptor(b []byte) (pushwal.AcceptorMessage, error) {
	switch pushwal.Kind(b) {
	case pushwal.KindGreeting:
		m := new(pushwal.AcceptorGreeting)
		return m, codec.DecodeAcceptorGreeting(b, m)
	case pushwal.KindVote:
		m := new(pushwal.VoteResponse)
		return m, codec.DecodeVoteResponse(b, m)
	case pushwal.KindConfiguration:
		m := new(pushwal.ConfigurationResponse)
		return m, codec.DecodeConfigurationResponse(b, m)
	}
	m := new(pushwal.AppendResponse)
	return m, codec.DecodeAppendResponse(b, m)
}

// name is a message's kind for the report.
func name(m any) string {
	switch m := m.(type) {
	case *pushwal.ProposerGreeting, *pushwal.AcceptorGreeting:
		return "greeting"
	case *pushwal.VoteRequest:
		return "vote request"
	case *pushwal.ConfigurationRequest:
		return "configuration"
	case *pushwal.ConfigurationResponse:
		return "configuration accepted"
	case *pushwal.ProposerElected:
		return "elected"
	case *pushwal.AppendRequest:
		if len(m.WAL) == 0 {
			return "heartbeat"
		}
		return "append"
	case *pushwal.VoteResponse:
		if m.VoteGiven {
			return "vote given"
		}
		return "vote refused"
	case *pushwal.AppendResponse:
		if m.FlushLSN == 0 {
			return "append refused"
		}
		return "appended"
	}
	return "?"
}
