package safekeeper

import (
	"errors"
)

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
