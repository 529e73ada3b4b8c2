package safekeeper

import "errors"

// RetainNow applies retention to all timelines at once, for tests.
func (s *Server) RetainNow() error {
	var errs []error
	for _, t := range s.timelines.list() {
		errs = append(errs, s.retainOnce(t))
	}
	return errors.Join(errs...)
}
