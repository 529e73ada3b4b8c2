package replication

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// two says that two answers will do.
func two(answers []Answer) bool {
	n := 0
	for _, a := range answers {
		if a.Err == nil {
			n++
		}
	}
	return n >= 2
}

// TestAskLeavesWhoHangs: one that never answers is given up when the others have
// said enough, and by nothing else here.
func TestAskLeavesWhoHangs(t *testing.T) {
	one := func(ctx context.Context, i int) (Status, error) {
		if i == 0 {
			<-ctx.Done()
			return Status{}, ctx.Err()
		}
		return Status{Term: 7}, nil
	}
	answers := Ask(t.Context(), 3, one, two)
	require.ErrorIs(t, answers[0].Err, ErrLate)
	require.ErrorIs(t, answers[0].Err, context.Canceled)
	for _, a := range answers[1:] {
		require.NoError(t, a.Err)
		require.EqualValues(t, 7, a.Term)
	}
}

// TestAskWaitsForEnough: whoever fails is no answer, and the one that makes a
// majority is waited for.
func TestAskWaitsForEnough(t *testing.T) {
	refused := errors.New("refused")
	failed := make(chan struct{})
	one := func(ctx context.Context, i int) (Status, error) {
		switch i {
		case 0:
			close(failed)
			return Status{}, refused
		case 1:
			<-failed
		}
		require.NoError(t, ctx.Err())
		return Status{Term: 7}, nil
	}
	seen := 0
	answers := Ask(t.Context(), 3, one, func(a []Answer) bool { seen++; return two(a) })
	require.ErrorIs(t, answers[0].Err, refused)
	require.NoError(t, answers[1].Err)
	require.NoError(t, answers[2].Err)
	require.LessOrEqual(t, seen, 2, "the last answer leaves nothing to wait for")
}

// TestAskAllWithoutEnough: without a word on what is enough everybody is waited for.
func TestAskAllWithoutEnough(t *testing.T) {
	slow := make(chan struct{})
	one := func(ctx context.Context, i int) (Status, error) {
		if i == 2 {
			close(slow)
			return Status{}, nil
		}
		<-slow
		return Status{}, ctx.Err()
	}
	for _, a := range Ask(t.Context(), 3, one, nil) {
		require.NoError(t, a.Err)
	}
}
