package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Grace is how long Ask still waits for the rest once enough have answered: long
// enough for who is only a little slower, whose answer saves work later.
const Grace = 300 * time.Millisecond

// ErrLate is the error of a safekeeper that had not answered when the others had
// said enough. It may answer the next time.
var ErrLate = errors.New("it had not answered when enough others had")

// Answer is what one of several safekeepers says of a timeline.
type Answer struct {
	Status
	Err error // why there is no Status
}

// Ask asks n safekeepers at once. The answers are in their order.
//
// With enough it does not wait for one that hangs: enough is asked after each
// answer whether those that are there will do, the others being ErrLate in it; from
// then on the rest gets Grace, and its questions are cancelled. That a majority has
// answered is for enough to say. Without it, nil, each question takes as long as it
// takes.
func Ask(ctx context.Context, n int, one func(ctx context.Context, i int) (Status, error), enough func([]Answer) bool) []Answer {
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	type numbered struct {
		i int
		Answer
	}
	came := make(chan numbered, n)
	answers := make([]Answer, n)
	for i := range answers {
		answers[i].Err = ErrLate
		go func() {
			s, err := one(asking, i)
			if err != nil && errors.Is(context.Cause(asking), ErrLate) {
				err = fmt.Errorf("%w (%w)", ErrLate, err)
			}
			came <- numbered{i, Answer{s, err}}
		}()
	}
	var over <-chan time.Time
	for left := n; left > 0; {
		select {
		case a := <-came:
			left--
			answers[a.i] = a.Answer
			if enough != nil && over == nil && left > 0 && enough(slices.Clone(answers)) {
				timer := time.NewTimer(Grace)
				defer timer.Stop()
				over = timer.C
			}
		case <-over:
			cancel(ErrLate) // whose answers still come: nothing is left behind
			enough = nil
		}
	}
	return answers
}
