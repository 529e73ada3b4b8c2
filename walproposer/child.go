package walproposer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/seqpacket"
)

// child is a process of the supervisor's. All that is sent to it goes through a
// queue with an end, so that the supervisor never waits for it.
type child struct {
	kind    string // childTap or childPush
	id      workerID
	number  uint64 // of all children
	cmd     *exec.Cmd
	control controlConn
	out     chan outgoing
	began   time.Time
	dead    chan struct{} // closed once the process was waited for

	// Of the supervisor's loop.
	registered bool
	expected   bool   // its end was asked for and is no failure
	cause      string // why it was killed

	mu    sync.Mutex
	asked map[uint64]chan message
	next  uint64
}

type outgoing struct {
	o     order
	files []*os.File
}

// event is what the supervisor's loop hears of a child.
type event struct {
	c      *child
	m      *message // it said something
	exited bool     // it ended and was waited for
	err    error    // of waiting
}

// outQueue is how many orders may wait for a child.
const outQueue = 64

func newChild(kind string, id workerID, number uint64, cmd *exec.Cmd, control *seqpacket.Conn) *child {
	return &child{
		kind: kind, id: id, number: number, cmd: cmd, control: controlConn{control}, began: time.Now(),
		out: make(chan outgoing, outQueue), dead: make(chan struct{}), asked: map[uint64]chan message{},
	}
}

func (c *child) String() string {
	if c.kind == childTap {
		return "tap"
	}
	return fmt.Sprintf("push worker of safekeeper %d", c.id.Peer+1)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// order sends without waiting. A child that leaves so much untaken is killed.
func (c *child) order(o order, files ...*os.File) {
	select {
	case c.out <- outgoing{o, files}:
	default:
		seqpacket.Close(files)
		c.kill("it does not take orders")
	}
}

// kill ends the process at once. Its end is heard of as an event.
func (c *child) kill(cause string) {
	if c.cause == "" {
		c.cause = cause
	}
	// An error says that it has ended already.
	_ = c.cmd.Process.Kill()
}

// endSoon expects the process to end by itself, in a moment.
func (c *child) endSoon() {
	c.expected = true
	time.AfterFunc(endsWithin, func() { _ = c.cmd.Process.Kill() })
}

// endsWithin is how long a child whose work is over may take to end.
const endsWithin = time.Second

// write sends orders until the process has ended.
func (c *child) write() {
	for {
		select {
		case m := <-c.out:
			err := c.control.send(m.o, m.files...)
			seqpacket.Close(m.files)
			if err != nil {
				_ = c.cmd.Process.Kill()
			}
		case <-c.dead:
			for {
				select {
				case m := <-c.out:
					seqpacket.Close(m.files)
				default:
					return
				}
			}
		}
	}
}

// read passes on what the child says until its end. One that is silent or speaks
// nonsense is killed.
func (c *child) read(events chan<- event, done <-chan struct{}, silence time.Duration) {
	for {
		if err := c.control.c.SetReceiveTimeout(silence); err != nil {
			return
		}
		m := new(message)
		files, err := c.control.receive(m)
		seqpacket.Close(files)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			_ = c.cmd.Process.Kill()
			return
		}
		if m.Answer != 0 {
			c.answered(m)
			continue
		}
		select {
		case events <- event{c: c, m: m}:
		case <-done:
			return
		}
	}
}

// errNoAnswer says that a child did not answer in time.
var errNoAnswer = errors.New("no answer")

// ask puts a question and waits for the answer, for at most patience.
func (c *child) ask(what string, patience time.Duration) (message, error) {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.next++
	n := c.next
	c.asked[n] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.asked, n)
		c.mu.Unlock()
	}()
	select {
	case c.out <- outgoing{o: order{Ask: n, What: what}}:
	default:
		return message{}, errNoAnswer
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case m := <-answer:
		return m, nil
	case <-timeout.C:
	case <-c.dead:
	}
	return message{}, errNoAnswer
}

func (c *child) answered(m *message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if to := c.asked[m.Answer]; to != nil {
		select {
		case to <- *m:
		default:
		}
	}
}
