package safekeeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

// catchUp takes a lesson: it repeats to the own acceptor, over an in-process
// pipe, what the proposer of the lesson's term would have said, with bytes from
// the donor, none of them above its commit position. Nothing but the ordinary
// rules of the acceptor decides whether they are taken.
func (s *Server) catchUp(ctx context.Context, t *timeline, donor pushwal.Member, l consensus.Lesson) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours, theirs := net.Pipe()
	acceptorSide := protocol.NewCopyStream(ctx, theirs, protocol.StreamOptions{Server: true})
	proposerSide := protocol.NewCopyStream(ctx, ours, protocol.StreamOptions{})
	r := &replay{timeline: t, lesson: l, stream: proposerSide, codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true}}

	served := make(chan error, 1)
	go func() {
		err := t.accepting.Serve(ctx, acceptorSide, replication.PushOptions{Version: pushwal.Version3, Walhaven: true, Recovery: true})
		if err != nil {
			proposerSide.Abort(err)
		}
		cancel()                 // the donor is not waited for any more
		_ = acceptorSide.Close() // the pipe's other end has ended or is told so by it
		served <- err
	}()
	err := r.run(ctx, func(ctx context.Context, at wal.LSN) (*receiver.Receiver, func(), error) {
		return s.openDonor(ctx, t, donor, at)
	})
	refused := <-served
	if err == nil {
		return nil // how the session ended behind the last word does not matter
	}
	return errors.Join(err, refused)
}

// openDonor asks the donor for committed WAL from at on.
func (s *Server) openDonor(ctx context.Context, t *timeline, donor pushwal.Member, at wal.LSN) (*receiver.Receiver, func(), error) {
	conninfo, err := s.o.Config.Peer.Conninfo(memberAddress(donor))
	if err != nil {
		return nil, nil, err
	}
	o := s.dialOptions(t.id)
	o.Params["replication"] = "true"
	client, err := replication.Connect(ctx, conninfo, o)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to donor: %w", err)
	}
	r, err := receiver.Start(ctx, client, at, receiver.Options{})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("ask donor for WAL from %s: %w", at, err), client.Close())
	}
	return r, func() { _ = errors.Join(r.Close(), client.Close()) }, nil
}

// replay is the proposer's side of the pipe.
type replay struct {
	timeline *timeline
	lesson   consensus.Lesson
	stream   *protocol.CopyStream
	codec    pushwal.Codec
	config   pushwal.Configuration
	pos      wal.LSN
	header   []byte
}

// openFunc connects to the donor; the stream ends with ctx.
type openFunc func(ctx context.Context, at wal.LSN) (*receiver.Receiver, func(), error)

func (r *replay) run(ctx context.Context, open openFunc) error {
	if err := r.greet(); err != nil {
		return fmt.Errorf("greet own acceptor: %w", err)
	}
	var answers errgroup.Group
	answers.Go(r.discardAnswers)
	err := r.elect()
	if err == nil && r.pos < r.lesson.Upto {
		err = r.copyWAL(ctx, open)
	}
	if err == nil {
		err = r.announce(ctx)
	}
	return errors.Join(err, r.stream.Close(), answers.Wait())
}

// greet introduces the replay as the timeline itself.
func (r *replay) greet() error {
	st := r.timeline.accepting.Status()
	r.config = st.Configuration
	g := pushwal.ProposerGreeting{
		TTID: r.timeline.id, PGVersion: st.PGVersion, SystemID: st.SystemID,
		SegmentSize: st.SegmentSize, TLI: r.lesson.TLIHistory.Last,
	}
	if _, err := rand.Read(g.Instance[:]); err != nil { // marks a sender of whole frames of ours
		return fmt.Errorf("make instance: %w", err)
	}
	if err := r.send(r.codec.AppendProposerGreeting(nil, &g)); err != nil {
		return err
	}
	msg, err := r.stream.Receive()
	if err != nil {
		return err
	}
	var answer pushwal.AcceptorGreeting
	return r.codec.DecodeAcceptorGreeting(msg, &answer)
}

// elect repeats the election's outcome. A log that has no record yet begins at
// its segment's first byte, though a part of the bytes in front of the first
// record may be there: the true ones come along.
func (r *replay) elect() error {
	r.pos = r.lesson.Start
	if c := r.timeline.store.Control(); r.pos == c.Start && r.timeline.store.Positions().Write < c.Start {
		r.pos = c.SegmentSize.SegmentStart(c.Start)
	}
	m := pushwal.ProposerElected{
		Generation: r.config.Generation, Term: r.lesson.Term, StartStreamingAt: r.pos,
		History: r.lesson.History, TLIHistory: r.lesson.TLIHistory,
	}
	return r.send(r.codec.AppendProposerElected(nil, &m))
}

// donorStall is how long a donor may bring nothing. Then what came is what there
// is: the padding behind an XLOG_SWITCH record lies below the commit position
// and may never have been written.
const donorStall = 2 * time.Second

// copyWAL brings the donor's bytes up to the lesson's end.
func (r *replay) copyWAL(ctx context.Context, open openFunc) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	donor, done, err := open(reading, r.pos)
	if err != nil {
		return err
	}
	defer done()
	stall := time.AfterFunc(donorStall, stop)
	defer stall.Stop()
	for r.pos < r.lesson.Upto {
		at, data, err := donor.Next()
		if err != nil && reading.Err() != nil && ctx.Err() == nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read WAL from donor: %w", err)
		}
		stall.Reset(donorStall)
		if at != r.pos {
			return fmt.Errorf("donor sent WAL at %s, expected %s", at, r.pos)
		}
		if err := r.appendAll(data[:min(uint64(len(data)), uint64(r.lesson.Upto-r.pos))]); err != nil {
			return err
		}
	}
	return nil
}

// appendAll sends data as frames.
func (r *replay) appendAll(data []byte) error {
	for len(data) > 0 {
		n := r.frameLen(data)
		if err := r.append(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// frameLen is how much of data goes into one frame: of one timeline.
func (r *replay) frameLen(data []byte) int {
	n := min(len(data), pushwal.MaxAppend)
	h := r.lesson.TLIHistory
	if sw, _, ok := h.SwitchPoint(h.TLIAt(r.pos)); ok && r.pos+wal.LSN(n) > sw {
		n = int(sw - r.pos)
	}
	return n
}

// append sends data, which begins at r.pos; none of it announces the commit
// position.
func (r *replay) append(data []byte) error {
	m := pushwal.AppendRequest{
		Generation: r.config.Generation, Term: r.lesson.Term, Begin: r.pos, End: r.pos + wal.LSN(len(data)),
		CommitLSN: r.lesson.Commit, TLI: r.lesson.TLIHistory.TLIAt(r.pos), CRC: pushwal.Checksum(data), WAL: data,
	}
	r.header = r.codec.AppendAppendRequestHeader(r.header[:0], &m)
	if err := r.send(r.header, data); err != nil {
		return fmt.Errorf("append to own acceptor: %w", err)
	}
	r.pos = m.End
	return nil
}

// announce sends the commit position behind the WAL and waits until it is known
// here.
func (r *replay) announce(ctx context.Context) error {
	if err := r.append(nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	_, err := r.timeline.accepting.WaitCommit(ctx, r.lesson.Commit-1)
	if err != nil {
		return fmt.Errorf("wait for commit position %s: %w", r.lesson.Commit, err)
	}
	return nil
}

// discardAnswers reads the acceptor's answers until the stream ends.
func (r *replay) discardAnswers() error {
	for {
		if _, err := r.stream.Receive(); err != nil {
			return nil //nolint:nilerr // what went wrong is told by the acceptor's side
		}
	}
}

func (r *replay) send(parts ...[]byte) error {
	invariant.Point("safekeeper/replay/before")
	return errors.Join(r.stream.Send(parts...), r.stream.Flush())
}
