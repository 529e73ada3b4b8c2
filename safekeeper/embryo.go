package safekeeper

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// With --allow-implicit-timelines a proposer may greet a timeline that nobody
// founded, as Neon's walproposer does. Where its WAL begins is known only when
// the proposer was elected, and a WAL store cannot be made before. Until then
// the timeline is an embryo: a vote kept in a file of its own. The elected
// proposer's message founds the timeline; its connection is then closed, and
// the proposer comes back to an ordinary one, as the protocol lets it at any
// time.

// embryo is the acceptor of a timeline that has no WAL store yet.
type embryo struct {
	registry *registry
	id       wal.TTID
	acceptor *consensus.Acceptor
}

// embryoConn is the only connection of an embryo's acceptor: each session has
// an acceptor of its own, made from the file.
const embryoConn consensus.ConnID = 1

// foundImplicitly serves a proposer whose timeline is not here. It returns the
// timeline if it came to be meanwhile.
func (s *Server) foundImplicitly(session *protocol.Session, stream *protocol.CopyStream, o replication.PushOptions) (*timeline, *pushwal.ProposerGreeting, error) {
	greeting, err := replication.ReceiveGreeting(stream, o)
	if err != nil {
		return nil, nil, err
	}
	if allowed := session.Identity.Tenant; allowed != nil && *allowed != greeting.TTID.Tenant {
		return nil, nil, protocol.Errorf(protocol.CodeInsufficientRight, "role %q may use tenant %s only", session.Identity.User, *allowed)
	}
	if t, err := s.timelineOf(session); err == nil && t.id == greeting.TTID {
		return t, greeting, nil
	}
	target := stateOf(session).target
	if target.Tenant != greeting.TTID.Tenant.String() || target.Timeline != greeting.TTID.Timeline.String() {
		return nil, nil, protocol.Errorf(protocol.CodeInvalidParameter, "the greeting is for timeline %s, the connection for another", greeting.TTID)
	}
	return nil, nil, s.timelines.serveEmbryo(stream, o, greeting)
}

// serveEmbryo answers greeting and votes, and ends with an error in any case.
func (r *registry) serveEmbryo(stream *protocol.CopyStream, o replication.PushOptions, greeting *pushwal.ProposerGreeting) error {
	codec := pushwal.Codec{Version: o.Version, Walhaven: o.Walhaven}
	e := &embryo{registry: r, id: greeting.TTID}
	if err := e.step(stream, codec, greeting, greeting); err != nil {
		return err
	}
	for {
		msg, err := stream.Receive()
		if err != nil {
			return err
		}
		switch pushwal.Kind(msg) {
		case pushwal.KindVote:
			var m pushwal.VoteRequest
			if err := codec.DecodeVoteRequest(msg, &m); err != nil {
				return protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
			}
			if err := e.step(stream, codec, greeting, &m); err != nil {
				return err
			}
		case pushwal.KindElected:
			var m pushwal.ProposerElected
			if err := codec.DecodeProposerElected(msg, &m); err != nil {
				return protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
			}
			return e.found(greeting, &m)
		default:
			return protocol.Errorf(protocol.CodeProtocolViolation, "message %q for a timeline that has no WAL yet", pushwal.Kind(msg))
		}
	}
}

// step lets an acceptor made from the file handle one message: the file is the
// only memory, so that several proposers meet one voter.
func (e *embryo) step(stream *protocol.CopyStream, codec pushwal.Codec, greeting *pushwal.ProposerGreeting, m pushwal.ProposerMessage) error {
	e.registry.founding.Lock()
	defer e.registry.founding.Unlock()
	if e.registry.lookup(e.id) != nil {
		return errFoundedMeanwhile
	}
	state, err := e.registry.embryoState(e.id)
	if err != nil {
		return err
	}
	if state == nil {
		state = &consensus.State{
			ID: e.id, SystemID: greeting.SystemID, PGVersion: greeting.PGVersion, SegmentSize: greeting.SegmentSize,
			Incarnation: e.registry.deps.identity.Incarnation, TLIHistory: wal.TimelineHistory{Last: 1},
		}
	}
	e.acceptor = consensus.NewAcceptor(pushwal.NodeID(e.registry.deps.identity.ID), *state, consensus.Positions{})
	if _, isGreeting := m.(*pushwal.ProposerGreeting); !isGreeting {
		if _, err := e.acceptor.Step(embryoConn, greeting); err != nil {
			return err
		}
	}
	effects, err := e.acceptor.Step(embryoConn, m)
	if err != nil {
		return err
	}
	if effects.Save != nil {
		if err := e.registry.saveEmbryo(e.id, *effects.Save); err != nil {
			return err
		}
	}
	return sendAnswers(stream, codec, effects.Send)
}

func sendAnswers(stream *protocol.CopyStream, codec pushwal.Codec, answers []consensus.Outgoing) error {
	var errs []error
	invariant.Point("safekeeper/embryo/before")
	for _, out := range answers {
		switch m := out.Msg.(type) {
		case *pushwal.AcceptorGreeting:
			errs = append(errs, stream.Send(codec.AppendAcceptorGreeting(nil, m)))
		case *pushwal.VoteResponse:
			errs = append(errs, stream.Send(codec.AppendVoteResponse(nil, m)))
		}
	}
	return errors.Join(append(errs, stream.Flush())...)
}

// errFoundedMeanwhile sends a proposer back to the timeline that is there now.
var errFoundedMeanwhile = protocol.Errorf(protocol.CodeCannotConnectNow, "the timeline has been founded; connect again")

// found founds the timeline that the elected proposer begins.
func (e *embryo) found(greeting *pushwal.ProposerGreeting, m *pushwal.ProposerElected) error {
	if len(m.History) == 0 {
		return protocol.Errorf(protocol.CodeProtocolViolation, "an elected proposer without a term history")
	}
	r := e.registry
	r.founding.Lock()
	defer r.founding.Unlock()
	if r.lookup(e.id) != nil {
		return errFoundedMeanwhile
	}
	voted, err := r.embryoState(e.id)
	if err != nil || voted == nil {
		return errors.Join(err, protocol.Errorf(protocol.CodeProtocolViolation, "an elected proposer that never asked for a vote"))
	}
	state := *voted
	state.Start = m.History[0].LSN
	state.SystemID = max(state.SystemID, greeting.SystemID)
	state = consensus.Founding(state)
	state.Term = voted.Term
	raw, err := state.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode founding state: %w", err)
	}
	control := walstore.Control{
		ID: e.id, Name: e.id.Timeline.String(), SystemID: state.SystemID, PGVersion: state.PGVersion,
		SegmentSize: state.SegmentSize, Start: state.Start, History: state.TLIHistory, State: raw,
	}
	if err := r.add(control); err != nil {
		return err
	}
	return errFoundedMeanwhile
}

func (r *registry) embryoPath(id wal.TTID) (dir, name string) {
	return filepath.Join(r.root, id.Tenant.String()), id.Timeline.String() + ".embryo"
}

// embryoState is the vote that was given for a timeline that is not here, nil
// for none.
func (r *registry) embryoState(id wal.TTID) (*consensus.State, error) {
	dir, name := r.embryoPath(id)
	content, err := datadir.ReadSealed(vfs.Default, dir, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read vote for timeline %s: %w", id, err)
	}
	raw, err := hex.DecodeString(strings.TrimSuffix(content, "\n"))
	if err != nil {
		return nil, fmt.Errorf("read vote for timeline %s: %w", id, err)
	}
	state := new(consensus.State)
	if err := state.UnmarshalBinary(raw); err != nil {
		return nil, fmt.Errorf("read vote for timeline %s: %w", id, err)
	}
	return state, nil
}

func (r *registry) saveEmbryo(id wal.TTID, state consensus.State) error {
	raw, err := state.MarshalBinary()
	if err != nil {
		return fmt.Errorf("encode vote: %w", err)
	}
	if err := datadir.MakeTenant(r.root, id.Tenant); err != nil {
		return err
	}
	dir, name := r.embryoPath(id)
	return datadir.WriteSealed(vfs.Default, dir, name, hex.EncodeToString(raw)+"\n")
}

// removeEmbryo forgets the vote file once the timeline's own state carries it.
func (r *registry) removeEmbryo(id wal.TTID) {
	dir, name := r.embryoPath(id)
	if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.deps.logger.Warn("remove vote file of a founded timeline", "err", err)
	}
}
