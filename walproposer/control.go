package walproposer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/wal"
)

// order is a message of the supervisor to a child.
type order struct {
	// Start comes first and once.
	Start *startOrder `json:"start,omitempty"`
	// Worker brings the tap the other end of a push worker's pair.
	Worker *workerID `json:"worker,omitempty"`
	// Reaped says that a push worker is gone and was waited for.
	Reaped *workerID `json:"reaped,omitempty"`
	// Stop asks the tap to end in order.
	Stop bool `json:"stop,omitempty"`
	// Ask is a question to be answered under its number.
	Ask  uint64 `json:"ask,omitempty"`
	What string `json:"what,omitempty"`
}

// Questions of the supervisor.
const (
	askState   = "state"
	askMetrics = "metrics"
)

// startOrder is what a child works with.
type startOrder struct {
	Log     daemon.LogConfig `json:"log"`
	Options *Options         `json:"options,omitempty"` // of the tap
	Peer    int              `json:"peer"`              // of a push worker
}

// workerID names one process: of the workers of a safekeeper, the n-th.
type workerID struct {
	Peer   int    `json:"peer"`
	Number uint64 `json:"number"`
}

// message is what a child says to the supervisor.
type message struct {
	// Ready says that the tap takes orders.
	Ready bool `json:"ready,omitempty"`
	// Registered says that a push worker has reported to the tap.
	Registered *workerID `json:"registered,omitempty"`
	// Kill asks for the end of a push worker; a reason counts as its failure.
	Kill   *workerID `json:"kill,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Places says for how many safekeepers push workers are wanted.
	Places int `json:"places,omitempty"`
	// Elected says that the tap has won a term.
	Elected bool `json:"elected,omitempty"`
	// Refused is why the tap ends for good.
	Refused *refusalNote `json:"refused,omitempty"`
	// Answer is to the question of that number.
	Answer  uint64     `json:"answer,omitempty"`
	State   *stateNote `json:"state,omitempty"`
	Samples []sample   `json:"samples,omitempty"`
	Pulse   bool       `json:"pulse,omitempty"`
}

// refusalNote is a Refusal on its way.
type refusalNote struct {
	Reason string `json:"reason"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

// stateNote is what the tap says of itself.
type stateNote struct {
	Status Status               `json:"status"`
	Term   wal.Term             `json:"term"`
	Checks []daemon.CheckStatus `json:"checks"`
}

// controlPatience is how long a child, or the supervisor, may leave messages
// untaken.
const controlPatience = 5 * time.Second

// controlConn carries orders and messages. Sending is for any goroutine.
type controlConn struct{ c *seqpacket.Conn }

func (c controlConn) send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	return c.c.Send(controlPatience, b, files...)
}

// receive decodes the next message into v.
func (c controlConn) receive(v any) ([]*os.File, error) {
	b, files, err := c.c.Receive()
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		seqpacket.Close(files)
		return nil, fmt.Errorf("decode message: %w", err)
	}
	return files, nil
}

// errNoSupervisor says that a hidden subcommand was run by hand.
var errNoSupervisor = errors.New("this subcommand is for the walproposer's own child processes")
