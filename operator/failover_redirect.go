package operator

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/conninfo"
)

const (
	// stuckAfter is how long a standby may get nothing of the WAL that it lacks
	// before it is sent to safekeepers that answer.
	stuckAfter = 500 * time.Millisecond
	// answerWithin is how soon they have to.
	answerWithin = time.Second
)

// connSetting is where a standby gets its WAL from.
const connSetting = "primary_conninfo"

// watch notices a standby that gets no WAL.
type watch struct {
	received string
	since    time.Time // of the last change
}

// stuck says whether nothing has come for a while, once for each while.
func (w *watch) stuck(received string) bool {
	now := time.Now()
	if received != w.received || w.since.IsZero() {
		w.received, w.since = received, now
		return false
	}
	if now.Sub(w.since) < stuckAfter {
		return false
	}
	w.since = now
	return true
}

// redirect makes a standby that gets nothing turn to the safekeepers that answer
// now. A walreceiver waits for one that hangs, or whose machine is gone, for as
// long as TCP does, in the order of its primary_conninfo; a change of that makes it
// start again. Where all answer, or none, there is nothing to do. Called again it
// only wakes the standby, which pauses for wal_retrieve_retry_interval before it
// connects.
func (f *failover) redirect(ctx context.Context) error {
	row, err := f.pg.one(ctx, "SELECT current_setting('"+connSetting+"') AS now")
	if err != nil {
		return err
	}
	settings, err := conninfo.Parse(row["now"])
	if err != nil {
		return err
	}
	addresses := addressesOf(settings)
	answers := f.whichAnswer(ctx, addresses)
	order := reorder(addresses, answers)
	switch {
	case order == nil:
		return nil
	case f.redirected && answers[0]:
		return f.pg.reload(ctx)
	}
	settings["host"], settings["port"] = joinAddresses(order)
	if !f.redirected {
		if f.before, err = f.pg.autoConf(ctx, connSetting); err != nil {
			return err
		}
		f.redirected = true
	}
	f.say("  it gets no WAL from the safekeeper that it is connected to, or waits for; others answer:")
	if err := f.setConninfo(ctx, conninfo.Format(settings)); err != nil {
		return err
	}
	return f.pg.reload(ctx)
}

// setConninfo sets primary_conninfo, and prints it without a password.
func (f *failover) setConninfo(ctx context.Context, text string) error {
	shown, err := conninfo.WithoutPassword(text)
	if err != nil {
		return err
	}
	const statement = "ALTER SYSTEM SET " + connSetting + " = "
	return f.pg.changeSecret(ctx, statement+literal(text), statement+"'"+strings.ReplaceAll(shown, "'", "''")+"'")
}

// undoRedirect makes postgresql.auto.conf say of primary_conninfo what it said
// before; the new primary does not read it.
func (f *failover) undoRedirect(ctx context.Context) error {
	switch {
	case !f.redirected:
		return nil
	case f.before == nil:
		return f.pg.change(ctx, "ALTER SYSTEM RESET "+connSetting)
	}
	return f.setConninfo(ctx, *f.before)
}

// addressesOf are the servers of a connection string, host:port.
func addressesOf(settings map[string]string) []string {
	hosts, ports := strings.Split(settings["host"], ","), strings.Split(settings["port"], ",")
	addresses := make([]string, len(hosts))
	for i, host := range hosts {
		port := ports[min(i, len(ports)-1)]
		if port == "" {
			port = "5432"
		}
		addresses[i] = net.JoinHostPort(host, port)
	}
	return addresses
}

func joinAddresses(addresses []string) (hosts, ports string) {
	var h, p []string
	for _, a := range addresses {
		host, port, _ := net.SplitHostPort(a) // JoinHostPort made it.
		h, p = append(h, host), append(p, port)
	}
	return strings.Join(h, ","), strings.Join(p, ",")
}

// whichAnswer asks all of them at once.
func (f *failover) whichAnswer(ctx context.Context, addresses []string) []bool {
	answers := make([]bool, len(addresses))
	var asked sync.WaitGroup
	for i, a := range addresses {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerWithin)
			defer cancel()
			_, err := f.timelineRow(ctx, a)
			answers[i] = err == nil
		})
	}
	asked.Wait()
	return answers
}

// reorder is another order of the addresses, with those first that answer; nil if
// that is all of them, or none.
func reorder(addresses []string, answers []bool) []string {
	var first, last []string
	for i, a := range addresses {
		if answers[i] {
			first = append(first, a)
		} else {
			last = append(last, a)
		}
	}
	if len(first) == 0 || len(last) == 0 {
		return nil
	}
	if order := slices.Concat(first, last); !slices.Equal(order, addresses) {
		return order
	}
	// The same text would change nothing.
	return slices.Concat(first[1:], first[:1], last)
}
