package safekeeper

import (
	"context"
	"errors"
)

// ExchangeNow asks the other members of all timelines for their slots.
func (s *Server) ExchangeNow(ctx context.Context) {
	for _, t := range s.timelines.list() {
		s.exchangeOnce(ctx, t)
	}
}

// RetainNow applies retention to all timelines at once, for tests.
func (s *Server) RetainNow() error {
	var errs []error
	for _, t := range s.timelines.list() {
		errs = append(errs, s.retainOnce(t))
	}
	return errors.Join(errs...)
}

// CheckpointNow persists the positions of all timelines.
func (s *Server) CheckpointNow() error {
	var errs []error
	for _, t := range s.timelines.list() {
		errs = append(errs, t.accepting.Checkpoint())
	}
	return errors.Join(errs...)
}

// MovePositions moves a position of all timelines that a checkpoint persists.
func (s *Server) MovePositions() {
	for _, t := range s.timelines.list() {
		t.accepting.Report(1, 0)
	}
}

// ChangingCommands are the names of those that change something.
func (s *Server) ChangingCommands() (names []string) {
	for _, c := range s.table.Commands() {
		if c.Changes {
			names = append(names, c.Name)
		}
	}
	return names
}
