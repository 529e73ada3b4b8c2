package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// proposer pushes WAL to one safekeeper, as the winner of term 1.
type proposer struct {
	stream *protocol.CopyStream
	codec  pushwal.Codec
	wal    []byte
	from   wal.LSN // of wal[0]
	pos    wal.LSN // next byte
	start  wal.LSN // of the timeline

	done  chan struct{} // closed when nobody listens any more
	mu    sync.Mutex
	moved *sync.Cond
	flush wal.LSN
	err   error
}

// propose opens a session for a timeline that nobody has written to.
func (k *keeper) propose(ctx context.Context, id wal.TTID, content []byte, from, start wal.LSN) (*proposer, error) {
	o := options(id)
	o.MaxFrame = pushwal.MaxMessage
	stream, err := replication.Dial(ctx, k.conninfo(), "START_WAL_PUSH (proto_version '3', walhaven '1', allow_timeline_creation 'false')", o)
	if err != nil {
		return nil, err
	}
	p := &proposer{stream: stream, codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true}, wal: content, from: from, pos: from, start: start, done: make(chan struct{})}
	p.moved = sync.NewCond(&p.mu)
	if err := p.win(id); err != nil {
		_ = stream.Close()
		return nil, err
	}
	go p.listen()
	return p, nil
}

// term is that of all proposers; nobody follows them.
const term = 1

func (p *proposer) win(id wal.TTID) error {
	greeting := pushwal.ProposerGreeting{
		TTID: id, PGVersion: major * 10000, SystemID: walrecordtest.SystemID, SegmentSize: wal.DefaultSegmentSize, TLI: 1, Instance: pushwal.Instance{1},
	}
	if err := p.send(p.codec.AppendProposerGreeting(nil, &greeting)); err != nil {
		return err
	}
	if _, err := p.stream.Receive(); err != nil {
		return err
	}
	if err := p.send(p.codec.AppendVoteRequest(nil, &pushwal.VoteRequest{Generation: 1, Term: term})); err != nil {
		return err
	}
	answer, err := p.stream.Receive()
	if err != nil {
		return err
	}
	var vote pushwal.VoteResponse
	if err := p.codec.DecodeVoteResponse(answer, &vote); err != nil {
		return err
	}
	if !vote.VoteGiven {
		return fmt.Errorf("no vote in term %d", term)
	}
	return p.send(p.codec.AppendProposerElected(nil, &pushwal.ProposerElected{
		Generation: 1, Term: term, StartStreamingAt: p.pos,
		History: append(vote.History, pushwal.TermLSN{Term: term, LSN: vote.FlushLSN}), TLIHistory: wal.TimelineHistory{Last: 1},
	}))
}

func (p *proposer) send(parts ...[]byte) error {
	if err := p.stream.Send(parts...); err != nil {
		return err
	}
	return p.stream.Flush()
}

// listen takes acknowledgements until the stream ends.
func (p *proposer) listen() {
	defer close(p.done)
	var r pushwal.AppendResponse
	for {
		m, err := p.stream.Receive()
		if err == nil {
			err = p.codec.DecodeAppendResponse(m, &r)
		}
		if err == nil && r.Term != term {
			err = fmt.Errorf("the safekeeper is in term %d", r.Term)
		}
		p.mu.Lock()
		p.flush, p.err = max(p.flush, r.FlushLSN), err
		p.moved.Broadcast()
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// append sends WAL up to end. Everything that was acknowledged is committed.
func (p *proposer) append(end wal.LSN) error {
	for p.pos < end {
		next := min(end, p.pos+pushwal.MaxAppend)
		data := p.wal[p.pos-p.from : next-p.from]
		p.mu.Lock()
		commit := max(p.flush, p.start)
		p.mu.Unlock()
		m := pushwal.AppendRequest{
			Generation: 1, Term: term, Begin: p.pos, End: next, CommitLSN: commit, TruncateLSN: p.start, TLI: 1, CRC: pushwal.Checksum(data), WAL: data,
		}
		if err := p.send(p.codec.AppendAppendRequestHeader(nil, &m), data); err != nil {
			return err
		}
		p.pos = next
	}
	return nil
}

// commit tells the safekeeper that all it has acknowledged is committed.
func (p *proposer) commit() error {
	p.mu.Lock()
	m := pushwal.AppendRequest{Generation: 1, Term: term, Begin: p.pos, End: p.pos, CommitLSN: p.flush, TruncateLSN: p.start, TLI: 1}
	p.mu.Unlock()
	return p.send(p.codec.AppendAppendRequestHeader(nil, &m))
}

// await waits until everything below at is on the safekeeper's disk.
func (p *proposer) await(at wal.LSN) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.flush < at && p.err == nil {
		p.moved.Wait()
	}
	if p.flush < at {
		return p.err
	}
	return nil
}

func (p *proposer) close() {
	_ = p.stream.Close()
	<-p.done
}
