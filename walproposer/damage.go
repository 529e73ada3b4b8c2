package walproposer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/shmqueue"
)

// hintsAtDamage says whether what ended a connection, or a worker, may come from
// damaged memory of the queue: a reader that refused what it saw there, or a
// safekeeper that refused the checksum of a frame. It may as well come from
// elsewhere, and the session asks the queue.
func hintsAtDamage(err error) bool {
	for _, hint := range []error{shmqueue.ErrCorrupt, shmqueue.ErrLayout, shmqueue.ErrAheadOfHead} {
		if errors.Is(err, hint) {
			return true
		}
	}
	var ours *protocol.Error
	var theirs *pgconn.PgError
	return errors.As(err, &ours) && ours.Code == protocol.CodeDataCorrupted ||
		errors.As(err, &theirs) && theirs.Code == protocol.CodeDataCorrupted
}

// suspect asks the session to check the queue. It does not wait.
func (t *term) suspect() {
	select {
	case t.suspicion <- struct{}{}:
	default: // asked already
	}
}

// suspect asks the tap. Should it not take it, it is gone and so is this worker.
func (r *remoteDirector) suspect() { _ = r.pair.send(pairMessage{kind: pairSuspect}) }

// verifyEvery is the pause between two checks of the queue, each of which reads
// all of it.
const verifyEvery = time.Second

// errDamagedQueue ends a session: a queue is never repaired, and the next session
// has new memory, with a new proof and a new term.
var errDamagedQueue = errors.New("the memory of the queue is damaged")

// watchQueue checks the queue when somebody suspects it.
func (s *session) watchQueue(ctx context.Context) error {
	for {
		select {
		case <-s.term.suspicion:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := s.queue.Verify()
		s.metrics.queueChecks.Inc()
		if errors.Is(err, shmqueue.ErrCorrupt) {
			s.metrics.queueDamaged.Inc()
			return fmt.Errorf("%w: %w", errDamagedQueue, err)
		}
		if err != nil {
			s.logger.Debug("the queue could not be checked", "err", err)
		}
		if err := pause.For(ctx, verifyEvery); err != nil {
			return err
		}
	}
}
