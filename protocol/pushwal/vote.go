package pushwal

import (
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// AppendVoteRequest appends m to dst.
func (c Codec) AppendVoteRequest(dst []byte, m *VoteRequest) []byte {
	e := c.begin(dst, KindVote)
	if c.Version == Version2 {
		e.u64(uint64(m.Term))
		e.b = append(e.b, make([]byte, 16)...) // the proposer's ID of old
		return e.b
	}
	e.u32(uint32(m.Generation))
	e.u64(uint64(m.Term))
	return e.b
}

// DecodeVoteRequest decodes src into m.
func (c Codec) DecodeVoteRequest(src []byte, m *VoteRequest) error {
	const what = "vote request"
	*m = VoteRequest{}
	d, err := c.open(src, KindVote, what)
	if err != nil {
		return err
	}
	if c.Version == Version3 {
		m.Generation = Generation(d.u32())
	}
	m.Term = wal.Term(d.u64())
	return d.end(what, false)
}

// AppendVoteResponse appends m to dst.
func (c Codec) AppendVoteResponse(dst []byte, m *VoteResponse) []byte {
	e := c.begin(dst, KindVote)
	if c.Version == Version2 {
		e.u64(uint64(m.Term))
		e.u64(uint64(flag(m.VoteGiven)))
	} else {
		e.u32(uint32(m.Generation))
		e.u64(uint64(m.Term))
		e.u8(flag(m.VoteGiven))
	}
	e.u64(uint64(m.FlushLSN))
	e.u64(uint64(m.TruncateLSN))
	e.history(m.History)
	if c.Version == Version2 {
		e.u64(0) // the timeline's start of old
	}
	if c.options() {
		e.b = appendVoteOptions(e.b, m)
	}
	return e.b
}

// appendVoteOptions appends a block with what is set, or nothing.
func appendVoteOptions(dst []byte, m *VoteResponse) []byte {
	if m.TLIHistory.Last == 0 && m.Proposed.Generation == 0 {
		return dst
	}
	w := beginOptions(dst)
	if m.TLIHistory.Last != 0 {
		w.tliHistory(m.TLIHistory)
	}
	if m.Proposed.Generation != 0 {
		w.bytes(keyProposed, appendFull(nil, &m.Proposed))
		w.u64(keyProposedTerm, uint64(m.ProposedTerm))
	}
	return w.b
}

// voteOptions reads the block; a term without a configuration means nothing.
func (d *decoder) voteOptions(m *VoteResponse) (err error) {
	for n := d.u8(); n > 0 && !d.short && err == nil; n-- {
		key, value := d.option()
		if d.short {
			break
		}
		switch string(key) {
		case keyTLIHistory:
			err = parseTLIHistory(value, &m.TLIHistory)
		case keyProposed:
			m.Proposed = Configuration{}
			err = wholeValue(keyProposed, value, &m.Proposed)
		case keyProposedTerm:
			err = u64Value(keyProposedTerm, value, (*uint64)(&m.ProposedTerm))
		}
	}
	if m.Proposed.Generation == 0 {
		m.Proposed, m.ProposedTerm = Configuration{}, 0
	}
	return err
}

// DecodeVoteResponse decodes src into m.
func (c Codec) DecodeVoteResponse(src []byte, m *VoteResponse) error {
	const what = "vote response"
	*m = VoteResponse{}
	d, err := c.open(src, KindVote, what)
	if err != nil {
		return err
	}
	if c.Version == Version2 {
		m.Term = wal.Term(d.u64())
		m.VoteGiven = d.u64() != 0
	} else {
		m.Generation = Generation(d.u32())
		m.Term = wal.Term(d.u64())
		m.VoteGiven = d.u8() != 0
	}
	m.FlushLSN = wal.LSN(d.u64())
	m.TruncateLSN = wal.LSN(d.u64())
	if m.History, err = d.history(); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	if c.Version == Version2 {
		d.u64()
	}
	if c.options() && len(d.rest) > 0 {
		if err := d.voteOptions(m); err != nil {
			return fmt.Errorf("decode %s: %w", what, err)
		}
	}
	return d.end(what, true)
}

// AppendProposerElected appends m to dst.
func (c Codec) AppendProposerElected(dst []byte, m *ProposerElected) []byte {
	e := c.begin(dst, KindElected)
	if c.Version == Version3 {
		e.u32(uint32(m.Generation))
	}
	e.u64(uint64(m.Term))
	e.u64(uint64(m.StartStreamingAt))
	e.history(m.History)
	if c.Version == Version2 {
		var start wal.LSN // the timeline's start of old
		if len(m.History) > 0 {
			start = m.History[0].LSN
		}
		e.u64(uint64(start))
	}
	if c.options() {
		e.b = appendTLIHistory(e.b, m.TLIHistory)
	}
	return e.b
}

// DecodeProposerElected decodes src into m.
func (c Codec) DecodeProposerElected(src []byte, m *ProposerElected) error {
	const what = "elected message"
	*m = ProposerElected{}
	d, err := c.open(src, KindElected, what)
	if err != nil {
		return err
	}
	if c.Version == Version3 {
		m.Generation = Generation(d.u32())
	}
	m.Term = wal.Term(d.u64())
	m.StartStreamingAt = wal.LSN(d.u64())
	if m.History, err = d.history(); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	if c.Version == Version2 {
		d.u64()
	}
	if c.options() && len(d.rest) > 0 {
		if err := d.tliHistory(&m.TLIHistory); err != nil {
			return fmt.Errorf("decode %s: %w", what, err)
		}
	}
	return d.end(what, false)
}

func (e *encoder) history(h TermHistory) {
	e.u32(uint32(len(h)))
	for _, entry := range h {
		e.u64(uint64(entry.Term))
		e.u64(uint64(entry.LSN))
	}
}

func (d *decoder) history() (TermHistory, error) {
	n := d.count(16)
	if n == 0 {
		return nil, nil
	}
	h := make(TermHistory, n)
	for i := range h {
		h[i] = TermLSN{Term: wal.Term(d.u64()), LSN: wal.LSN(d.u64())}
	}
	if !h.Valid() {
		return nil, fmt.Errorf("term history is not in order: %w", ErrMalformed)
	}
	return h, nil
}
