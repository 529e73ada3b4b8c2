package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Main runs a program and returns its exit code. The context of run ends at the
// first SIGTERM or SIGINT; run then has all the time that it needs for an
// orderly end. A second signal ends the process at once with the code that a
// shell reports for it (128 + signal). Errors are written to stderr; that the
// context ended is no error, unless it was given an exit code.
func Main(program string, stderr io.Writer, run func(ctx context.Context) error) int {
	return mainLoop(program, stderr, run, os.Exit)
}

// mainLoop is Main with the hard exit as a parameter for tests.
func mainLoop(program string, stderr io.Writer, run func(ctx context.Context) error, hardExit func(int)) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case s := <-signals:
				if n == 0 {
					cancel(signalError{s})
					continue
				}
				fmt.Fprintf(stderr, "%s: second signal (%v): ending at once\n", program, s)
				hardExit(128 + int(s.(syscall.Signal)))
			}
		}
	}()

	err := run(ctx)
	close(ended)
	<-watched
	if err != nil && stoppedBySignal(ctx, err) {
		err = nil
	}
	if err != nil {
		PrintError(stderr, program, err)
	}
	return ExitCode(err)
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

func (e signalError) Error() string { return "stopped by signal: " + e.signal.String() }

// stoppedBySignal reports whether err says no more than that the context was
// ended, and a signal ended it.
func stoppedBySignal(ctx context.Context, err error) bool {
	var decided *ExitError
	if errors.As(err, &decided) {
		return false // 0 would tell the caller that what it asked for was done.
	}
	var cause signalError
	return errors.As(context.Cause(ctx), &cause) && (isCancelled(err) || errors.As(err, &cause))
}
