package pagestore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// Create makes an empty timeline. Everything put into it must lie above start.
// It is durable when Create returns.
func (s *Store) Create(id wal.TimelineID, start wal.LSN) (*Timeline, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.create(&index{Timeline: id, Start: start, Flushed: start, Cutoff: start}, nil)
	if err != nil {
		return nil, fmt.Errorf("create timeline %s: %w", id, err)
	}
	return t, nil
}

// create makes the folder under another name and renames it when it is whole.
func (s *Store) create(x *index, parent *Timeline) (*Timeline, error) {
	if _, err := s.Timeline(x.Timeline); !errors.Is(err, ErrNoTimeline) {
		if err == nil {
			err = ErrExists
		}
		return nil, err
	}
	x.Generation, x.Sequence, x.NextLayer = s.generation, 1, 1
	if err := x.validate(); err != nil {
		return nil, err
	}
	dir := s.disk.PathJoin(s.dir, x.Timeline.String())
	temp := dir + suffixCreating
	if err := s.disk.RemoveAll(temp); err != nil {
		return nil, err
	}
	if err := s.disk.MkdirAll(temp, 0o700); err != nil {
		return nil, err
	}
	if _, err := s.disk.publishIndex(temp, x); err != nil {
		return nil, err
	}
	if err := invariant.PointErr(pointCreateRename); err != nil {
		return nil, err
	}
	if err := s.disk.Rename(temp, dir); err != nil {
		return nil, err
	}
	if err := s.disk.syncFolder(s.dir); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	t := s.newTimeline(x, dir, parent)
	s.all[x.Timeline] = t
	return t, nil
}

// Branch makes a timeline that shares everything of the parent up to at. No
// layer is copied; if at lies above what the parent has flushed, that is flushed
// first. The parent's pin is durable before the branch exists.
func (s *Store) Branch(ctx context.Context, parent, id wal.TimelineID, at wal.LSN) (*Timeline, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	t, err := s.branch(ctx, parent, id, at)
	if err != nil {
		return nil, fmt.Errorf("create timeline %s as a branch of %s at %s: %w", id, parent, at, err)
	}
	invariant.Point(pointBranchDone)
	return t, nil
}

func (s *Store) branch(ctx context.Context, parent, id wal.TimelineID, at wal.LSN) (*Timeline, error) {
	p, err := s.Timeline(parent)
	if err != nil {
		return nil, err
	}
	if _, err := s.Timeline(id); err == nil {
		return nil, ErrExists
	}
	// A branch of what the parent itself has from its parent is a branch of that.
	for p.parent != nil && at <= p.branchLSN {
		p = p.parent
	}
	depth := 1
	for a := p.parent; a != nil; a = a.parent {
		depth++
	}
	if depth > maxAncestors {
		return nil, fmt.Errorf("more than %d ancestors: %w", maxAncestors, ErrTooLarge)
	}
	if err := p.pin(ctx, Pin{Kind: PinBranch, Name: id.String(), LSN: at}); err != nil {
		return nil, err
	}
	t, err := s.create(&index{Timeline: id, Parent: p.id, BranchLSN: at, Start: at, Flushed: at, Cutoff: at}, p)
	if err != nil {
		// The folder may exist all the same: the pin goes when Open finds none.
		return nil, err
	}
	return t, nil
}

// Delete removes a timeline and gives its parent's pin back. ErrHasBranches when
// others read from it. Reads in progress may fail.
func (s *Store) Delete(id wal.TimelineID) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if err := s.delete(id); err != nil {
		return fmt.Errorf("delete timeline %s: %w", id, err)
	}
	return nil
}

func (s *Store) delete(id wal.TimelineID) error {
	t, err := s.Timeline(id)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(s.Timelines(), func(o *Timeline) bool { return o.parent == t }) {
		return ErrHasBranches
	}
	t.close()
	// Whoever publishes has finished before the folder goes.
	t.mu.Lock()
	defer t.mu.Unlock()
	s.mu.Lock()
	delete(s.all, id)
	s.mu.Unlock()
	if err := invariant.PointErr(pointDeleteRename); err != nil {
		return err
	}
	if err := s.disk.Rename(t.dir, t.dir+suffixDeleting); err != nil {
		return err
	}
	if err := s.disk.syncFolder(s.dir); err != nil {
		return err
	}
	if err := s.disk.RemoveAll(t.dir + suffixDeleting); err != nil {
		return err
	}
	if t.parent == nil {
		return nil
	}
	return t.parent.unpin(PinBranch, id.String())
}
