package walproposer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// digestSize is where WAL_DIGEST cuts: at multiples of it, in bytes.
const digestSize = 1 << 20

// digestTimeout bounds WAL_DIGEST; the safekeeper reads back everything since
// the position that this server last heard to be safe.
const digestTimeout = 10 * time.Minute

// digest is the SHA-256 of a run of WAL.
type digest struct {
	wal.Range
	sum [sha256.Size]byte
}

// prover makes digests of what PostgreSQL sends, cut as WAL_DIGEST cuts, from
// lower on. The tap feeds it; whoever verifies waits for a position.
type prover struct {
	mu      sync.Mutex
	lower   wal.LSN
	at      wal.LSN // fed up to here, at least lower
	begin   wal.LSN // of the chunk that is being hashed
	h       hash.Hash
	done    []digest
	stopped bool
	moved   chan struct{}
}

func newProver(lower wal.LSN) *prover {
	return &prover{lower: lower, at: lower, begin: lower, h: sha256.New(), moved: make(chan struct{})}
}

// feed takes the next bytes that PostgreSQL sent.
func (p *prover) feed(at wal.LSN, data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	if at < p.lower {
		data = data[min(p.lower-at, wal.LSN(len(data))):]
	}
	for len(data) > 0 {
		end := p.begin&^(digestSize-1) + digestSize
		n := min(int(end-p.at), len(data))
		p.h.Write(data[:n])
		p.at, data = p.at+wal.LSN(n), data[n:]
		if p.at == end {
			d := digest{Range: wal.Range{Start: p.begin, End: end}}
			p.h.Sum(d.sum[:0])
			p.done = append(p.done, d)
			p.h.Reset()
			p.begin = end
		}
	}
	close(p.moved)
	p.moved = make(chan struct{})
}

// stop ends hashing: the term is won.
func (p *prover) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped, p.done = true, nil
}

// errBehind says that PostgreSQL did not send what the quorum has.
var errBehind = errors.New("PostgreSQL is behind the quorum")

// position is how far WAL was fed.
func (p *prover) position() wal.LSN {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// reach waits until everything below upto was fed, for patience if it is not 0.
func (p *prover) reach(ctx context.Context, upto wal.LSN, patience time.Duration) error {
	var late <-chan time.Time
	if patience > 0 {
		t := time.NewTimer(patience)
		defer t.Stop()
		late = t.C
	}
	for {
		p.mu.Lock()
		at, moved := p.at, p.moved
		p.mu.Unlock()
		if at >= upto {
			return nil
		}
		select {
		case <-moved:
		case <-late:
			return errBehind
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// behindAfter is how long a server whose WAL ended below the quorum's when it
// was asked may take to send the rest. It was asked before the quorum was, so
// that an older walproposer may have brought the quorum further meanwhile.
const behindAfter = 2 * time.Second

// patience is how long to wait for WAL up to upto, 0 for ever: the server has it.
func (s *session) patience(upto wal.LSN) time.Duration {
	if s.server.Flush >= upto {
		return 0
	}
	return behindAfter
}

// upto returns the digests of whole chunks below l, and the rest of the range.
func (p *prover) upto(l wal.LSN) (whole []digest, rest wal.Range) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest = wal.Range{Start: p.lower, End: l}
	for _, d := range p.done {
		if d.End > l {
			break
		}
		whole = append(whole, d)
		rest.Start = d.End
	}
	return whole, rest
}

// verify compares every byte from the lower bound up to r.Upto with the donor's.
func (s *session) verify(ctx context.Context, r *consensus.ProofRequest) error {
	lower, upto := s.proof.lower, r.Upto
	switch {
	case s.confirmed > upto:
		return refuse("the safekeepers hold WAL up to %s only, but had confirmed %s to this server", upto, s.confirmed).
			detail("A quorum has lost data, or these are not the safekeepers that this server wrote to.").
			hint("Bring back the safekeepers that hold it.")
	case upto <= lower:
		return nil
	}
	if err := s.proof.reach(ctx, upto, s.patience(upto)); errors.Is(err, errBehind) {
		return refuse("PostgreSQL is behind the quorum: its WAL ends at %s, safekeeper %d has it up to %s", max(s.server.Flush, s.proof.position()), r.DonorNode, upto).
			detail("Commits that were acknowledged may be missing here.").hint(hintRebuild)
	} else if err != nil {
		return err
	}
	own, err := s.ownDigests(ctx, upto)
	if err != nil {
		return err
	}
	theirs, err := s.peers.digests(ctx, r.Donor, wal.Range{Start: lower, End: upto})
	if err != nil {
		return err
	}
	if err := s.compare(r, own, theirs); err != nil {
		return err
	}
	s.logger.Info("proved", "from", lower, "upto", upto, "donor", uint64(r.DonorNode), "term", uint64(r.Term))
	return nil
}

// compare refuses the first difference.
func (s *session) compare(r *consensus.ProofRequest, own, theirs []digest) error {
	for i, d := range own {
		if i >= len(theirs) || theirs[i].Range != d.Range {
			return fmt.Errorf("safekeeper %s: digests do not cover %s", s.peers.address(r.Donor), d.Range)
		}
		if theirs[i].sum != d.sum {
			return refuse("PostgreSQL's WAL is another history than the quorum's: the bytes in %s differ from safekeeper %d's", d.Range, r.DonorNode).
				detail("Compared from %s to %s.", s.proof.lower, r.Upto).hint(hintRebuild)
		}
	}
	return nil
}

// ownDigests completes the digests of whole chunks by that of the last bytes,
// which are still in the queue.
func (s *session) ownDigests(ctx context.Context, upto wal.LSN) ([]digest, error) {
	own, rest := s.proof.upto(upto)
	if rest.Len() == 0 {
		return own, nil
	}
	c, err := s.queue.Register()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	h := sha256.New()
	for at := rest.Start; at < upto; {
		f, err := c.Next(ctx, at, upto)
		if errors.Is(err, shmqueue.ErrBehindFloor) {
			return nil, errVotesMoved
		}
		if err != nil {
			return nil, err
		}
		h.Write(f.Parts[0])
		h.Write(f.Parts[1])
		at = f.Range.End
	}
	d := digest{Range: rest}
	h.Sum(d.sum[:0])
	return append(own, d), nil
}

// digests asks a safekeeper.
func (p *peers) digests(ctx context.Context, peer int, r wal.Range) ([]digest, error) {
	rows, err := p.query(ctx, peer, fmt.Sprintf("WAL_DIGEST %s %s", r.Start, r.End), digestTimeout)
	if err != nil {
		return nil, err
	}
	out := make([]digest, len(rows))
	for i, row := range rows {
		if out[i], err = parseDigest(row); err != nil {
			return nil, fmt.Errorf("safekeeper %s: %w", p.address(peer), err)
		}
	}
	return out, nil
}

func parseDigest(row replication.Row) (d digest, err error) {
	if d.Start, err = row.LSN("start_lsn"); err != nil {
		return d, err
	}
	if d.End, err = row.LSN("end_lsn"); err != nil {
		return d, err
	}
	sum, err := hex.DecodeString(strings.TrimPrefix(row["sha256"], `\x`))
	if err != nil || len(sum) != len(d.sum) {
		return d, fmt.Errorf("digest %q of %s is malformed", row["sha256"], d.Range)
	}
	copy(d.sum[:], sum)
	return d, nil
}
