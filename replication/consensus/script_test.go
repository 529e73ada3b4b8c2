package consensus

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// TestScripts runs the scenarios in testdata/scripts. Their output is the full
// trace; -rewrite makes it anew, to be reviewed as a diff. Commands:
//
//	nodes n=3 [joining=3]            founds the timeline, WAL from 0/1000100 on
//	proposer p [headless] [from=2] [switch=X] [system=N]   a proposer whose server has the longest WAL
//	                                 there is, or node 2's, and was promoted at X
//	chunk p 40                       no more than 40 bytes in one request; pump p 1 sends the next one
//	connect p 1 2                    opens new connections
//	disconnect p 1                   breaks them; what was under way is lost
//	settle [p q] [nodes=(1,2)]       delivers everything until nothing is left
//	deliver p 1 [n]                  delivers n messages to node 1, no sync
//	answer p 1 [n]                   delivers n answers of node 1
//	prove p ok|refuse                answers the proof request
//	write p 100 [to=(1,2)]           the server writes, and the proposer sends to all (or some)
//	tick p
//	sync 1, crash 1, wipe 1          node 1
//	state                            where everybody stands
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			s.out.Reset()
			if err := s.run(d); err != nil {
				d.Fatalf(t, "%v", err)
			}
			return s.out.String()
		})
	})
}

type script struct {
	t   *testing.T
	c   *testCluster
	out strings.Builder
}

func (s *script) trace(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

func (s *script) run(d *datadriven.TestData) error {
	var words []string // arguments without a value
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			words = append(words, a.Key)
		}
	}
	switch d.Cmd {
	case "nodes":
		return s.nodes(d)
	case "state":
		s.out.WriteString(s.c.String())
		return nil
	case "settle":
		return s.settle(d, words)
	}
	if len(words) == 0 {
		return errors.New("who?")
	}
	if d.Cmd == "proposer" {
		return s.proposer(d, words)
	}
	if p := s.c.proposers[words[0]]; p != nil {
		return s.ofProposer(d, p, words[1:])
	}
	return s.ofNode(d.Cmd, words)
}

func (s *script) nodes(d *datadriven.TestData) error {
	n, joining := 0, 0
	d.MaybeScanArgs(s.t, "n", &n)
	d.MaybeScanArgs(s.t, "joining", &joining)
	conf := pushwal.Configuration{Generation: 1}
	for id := pushwal.NodeID(1); id <= pushwal.NodeID(n); id++ {
		conf.Members = append(conf.Members, members(id)...)
	}
	s.c = newTestCluster(conf, n)
	s.c.trace = s.trace
	if joining > 0 {
		node := s.c.node(joining)
		node.disk.Joining = true
		node.restart()
	}
	return nil
}

func (s *script) proposer(d *datadriven.TestData, words []string) error {
	at, system, from := "", 0, 0
	d.MaybeScanArgs(s.t, "from", &from)
	d.MaybeScanArgs(s.t, "switch", &at)
	d.MaybeScanArgs(s.t, "system", &system)
	s.c.propose(words[0], from, func(c *ProposerConfig) {
		c.Headless = slices.Contains(words, "headless")
		if system > 0 {
			c.SystemID = wal.SystemID(system)
		}
		if l, err := wal.ParseLSN(at); err == nil {
			c.TLIHistory = wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: l}}}
		}
	})
	return nil
}

func (s *script) settle(d *datadriven.TestData, names []string) error {
	if len(names) == 0 {
		names = s.c.names()
	}
	ids := s.all()
	if d.HasArg("nodes") {
		ids = nil
		for _, a := range d.CmdArgs {
			if a.Key == "nodes" {
				ids, _ = numbers(a.Vals)
			}
		}
	}
	s.c.settle(names, ids)
	return nil
}

func (s *script) all() (ids []int) {
	for i := range s.c.nodes {
		ids = append(ids, i+1)
	}
	return ids
}

func numbers(words []string) (out []int, err error) {
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (s *script) ofProposer(d *datadriven.TestData, p *testProposer, words []string) error {
	if d.Cmd == "prove" {
		ev := &Proved{Term: p.request.Term}
		if words[0] == "refuse" {
			ev.Err = errors.New("the bytes differ")
		}
		p.step(ev)
		return nil
	}
	ids, err := numbers(words)
	if err != nil {
		return err
	}
	switch d.Cmd {
	case "connect":
		p.connect(ids...)
	case "chunk":
		p.chunk = ids[0]
	case "pump":
		p.stream(p.links[ids[0]-1])
	case "disconnect":
		p.disconnect(ids...)
	case "tick":
		p.step(&Tick{})
	case "deliver", "answer":
		for range append(ids, 1)[1] {
			if l := p.links[ids[0]-1]; l != nil && d.Cmd == "deliver" {
				l.deliver(p)
			} else if l != nil {
				l.answer(p)
			}
		}
	case "write":
		p.pg = append(p.pg, fill(p.p.Term(), ids[0])...)
		p.step(&Available{p.end()})
		to := s.all()
		for _, a := range d.CmdArgs {
			if a.Key == "to" {
				to, _ = numbers(a.Vals)
			}
		}
		for _, id := range to {
			if l := p.links[id-1]; l != nil && l.at != 0 {
				p.stream(l)
			}
		}
	default:
		return fmt.Errorf("unknown command %s", d.Cmd)
	}
	return nil
}

func (s *script) ofNode(cmd string, words []string) error {
	ids, err := numbers(words)
	if err != nil {
		return err
	}
	n := s.c.node(ids[0])
	switch cmd {
	case "sync":
		s.c.route(n.sync())
	case "crash":
		s.c.crash(ids[0])
	case "wipe":
		s.c.crash(ids[0])
		fresh := newTestNode(n.id, testState(n.id, n.disk.Configuration))
		fresh.disk.Incarnation, fresh.trace = incarnation(n.id+100), n.trace
		fresh.restart()
		s.c.nodes[ids[0]-1] = fresh
	default:
		return fmt.Errorf("unknown command %s", cmd)
	}
	return nil
}
