package walproposer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/internal/seqpacket"
)

// Descriptors that a child is started with.
const (
	fdControl = 3
	fdPair    = 4 // of a push worker
)

// ChildMain runs a child process of the walproposer if the command line says
// that this is one, and returns its exit code. Programs and tests that run a
// Walproposer call it before anything else.
func ChildMain() (code int, isChild bool) {
	if len(os.Args) < 3 || os.Args[1] != childWord {
		return 0, false
	}
	// What stops the supervisor's group is the supervisor's to act on; it ends its
	// children, and the system does so should it be killed.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	kind := os.Args[2]
	if err := runChild(kind); err != nil {
		daemon.PrintError(os.Stderr, "walproposer "+kind, err)
		return daemon.ExitCode(err), true
	}
	return 0, true
}

// process is a child's end of the control pair.
type process struct {
	control  controlConn
	start    startOrder
	registry *prometheus.Registry
	logger   *slog.Logger
}

func runChild(kind string) error {
	c, err := seqpacket.FromFile(os.NewFile(fdControl, "control"))
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("%w: %w", errNoSupervisor, err))
	}
	p := &process{control: controlConn{c}, registry: prometheus.NewRegistry()}
	var o order
	files, err := p.control.receive(&o)
	seqpacket.Close(files)
	if err != nil {
		return fmt.Errorf("wait for the first order: %w", err)
	}
	if o.Start == nil {
		return errors.New("the first order says nothing")
	}
	p.start = *o.Start
	logger, err := p.start.Log.NewLogger(os.Stderr)
	if err != nil {
		return err
	}
	p.logger = logger.With("process", kind)
	switch kind {
	case childTap:
		return p.tap()
	case childPush:
		return p.push()
	}
	return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("unknown kind of child %q", kind))
}

// tell sends the supervisor a message. Without a supervisor there is nothing to
// go on for: another one may be at work already.
func (p *process) tell(m message) {
	if err := p.control.send(m); err != nil {
		p.orphaned(err)
	}
}

func (p *process) orphaned(err error) {
	p.logger.Error("the supervisor is gone", "err", err)
	os.Exit(daemon.ExitFailed)
}

// obey takes orders until the supervisor's end, which is this process's too.
func (p *process) obey(take func(order, []*os.File)) {
	for {
		var o order
		files, err := p.control.receive(&o)
		if errors.Is(err, io.EOF) {
			os.Exit(0)
		}
		if err != nil {
			p.orphaned(err)
		}
		take(o, files)
	}
}

// push is the process of a push worker. It is one connection's worth of work:
// one thread that runs Go is enough, besides those that wait for the safekeeper
// and for the tap, and spares the kernel waking idle ones.
func (p *process) push() error {
	runtime.GOMAXPROCS(1)
	ownthread.Allow(2)
	c, err := seqpacket.FromFile(os.NewFile(fdPair, "pair"))
	if err != nil {
		return daemon.WithExit(daemon.ExitUsage, fmt.Errorf("%w: %w", errNoSupervisor, err))
	}
	w := &worker{pair: newPairConn(c, "walproposer/worker/send"), metrics: newMetrics(p.registry), logger: p.logger}
	go p.obey(func(o order, files []*os.File) {
		seqpacket.Close(files)
		if o.What == askMetrics {
			p.tell(message{Answer: o.Ask, Samples: countsOf(p.registry)})
		}
	})
	err = w.run(context.Background())
	p.tell(message{Samples: countsOf(p.registry)})
	return err
}

// countsOf leaves gauges out: they are the tap's.
func countsOf(g prometheus.Gatherer) []sample {
	out := []sample{}
	for _, s := range samplesOf(g) {
		if s.Kind != sampleGauge {
			out = append(out, s)
		}
	}
	return out
}

// tap is the process that owns the proposer.
func (p *process) tap() error {
	if p.start.Options == nil {
		return errors.New("the first order has no options")
	}
	o, err := p.start.Options.withDefaults()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ownthread.Allow(places(o) + len(o.Safekeepers)) // push workers, and the connections they give
	crew := newProcesses(len(o.Safekeepers), p.tell)
	health := daemon.NewHealth()
	w := newSessions(o, Deps{Logger: p.logger, Registerer: p.registry, Health: health}, crew)
	w.elected = func() { p.tell(message{Elected: true}) }
	go p.obey(func(o order, files []*os.File) { p.tapOrder(w, crew, health, stop, o, files) })
	go p.pulse()
	p.tell(message{Ready: true})
	err = w.run(ctx)
	if r := judge(err); r != nil {
		p.tell(message{Refused: &refusalNote{Reason: r.Error(), Detail: r.Detail, Hint: r.Hint}})
		return nil
	}
	p.tell(message{Samples: samplesOf(p.registry)})
	return err
}

// places is how many connections and watches may have a thread of their own:
// PostgreSQL, each safekeeper, and pg_wal.
func places(o Options) int {
	n := 1 + len(o.Safekeepers)
	if o.EarlyPush != EarlyPushOff {
		n++
	}
	return n
}

func (p *process) tapOrder(w *sessions, crew *processes, health *daemon.Health, stop func(), o order, files []*os.File) {
	switch {
	case o.Worker != nil && len(files) == 1:
		id, f := *o.Worker, files[0]
		go func() { // A worker that never reports holds up nobody.
			if err := crew.arrived(id, f); err != nil {
				p.logger.Error("cannot use a push worker", "err", err)
			}
		}()
		return
	case o.Reaped != nil:
		crew.gone(*o.Reaped)
	case o.Stop:
		stop()
	case o.What == askState:
		p.tell(message{Answer: o.Ask, State: &stateNote{Status: w.status(), Term: w.state.lastTerm(), Checks: healthOf(health)}})
	case o.What == askMetrics:
		p.tell(message{Answer: o.Ask, Samples: samplesOf(p.registry)})
	}
	seqpacket.Close(files)
}

// pulse tells the supervisor that this process runs.
func (p *process) pulse() {
	tick := time.NewTicker(pulseEvery)
	defer tick.Stop()
	for range tick.C {
		p.tell(message{Pulse: true})
	}
}
