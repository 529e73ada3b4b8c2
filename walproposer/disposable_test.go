package walproposer_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/disposable"
	"github.com/walhaven/walhaven/walproposer"
)

// elsewhere makes a directory's marker one of before the machine's last crash.
func elsewhere(t *testing.T, dir string) {
	t.Helper()
	p, err := disposable.Here(dir)
	require.NoError(t, err)
	p.Boot = "0f5d6c1e-6a53-4c5e-9a51-6b2f0c8a7d11"
	require.NoError(t, disposable.Write(dir, p))
}

// A server without fsync leaves a directory that is good as long as the machine
// does not crash, and then until it was written to disk.
func TestDirectoryWithoutFsyncIsGoodUntilACrashOfTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	dir := w.pg.DataDir()
	w.work(false, 1)
	older := w.copyOf("older")
	require.NoError(t, disposable.Set(dir))
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"fsync": "off"}))
	w.work(true, 2)
	w.checks(dir, walproposer.StartPrimary)
	cleared, err := walproposer.SettleStopped(dir)
	require.NoError(t, err)
	require.False(t, cleared, "it did not stop in order")

	// The same directory without its last WAL is behind what it wrote itself.
	w.checks(older, walproposer.StartStandby)
	require.NoError(t, disposable.Set(older))
	w.refuses(older, "its WAL ends at")

	elsewhere(t, dir)
	w.refusesDisposable(dir)
	require.NoError(t, disposable.Write(dir, here(t, dir)))
	w.work(false, 3)
	w.checks(dir, walproposer.StartPrimary)
	elsewhere(t, dir)
	_, err = walproposer.SettleStopped(dir)
	var r *walproposer.Refusal
	require.ErrorAs(t, err, &r, "too late")
	require.NoError(t, disposable.Write(dir, here(t, dir)))
	cleared, err = walproposer.SettleStopped(dir)
	require.NoError(t, err)
	require.True(t, cleared)
	w.checks(dir, walproposer.StartPrimary)
	cleared, err = walproposer.SettleStopped(dir)
	require.NoError(t, err)
	require.False(t, cleared, "nothing to do")
}

func here(t *testing.T, dir string) disposable.Place {
	t.Helper()
	p, err := disposable.Here(dir)
	require.NoError(t, err)
	return p
}

// refusesDisposable demands a refusal that names where WAL ends and how to
// rebuild the server.
func (w *world) refusesDisposable(dir string) {
	w.t.Helper()
	_, err := w.check(dir)
	var r *walproposer.Refusal
	require.ErrorAs(w.t, err, &r)
	require.Contains(w.t, r.Reason, "must not be started")
	require.Regexp(w.t, `[0-9A-F]+/[0-9A-F]+`, r.Detail)
	require.Contains(w.t, r.Hint, "Rebuild the server")
}

// A server without fsync whose directory nobody could tell from a damaged one
// after a crash gets no term.
func TestServerWithoutFsyncNeedsItsMarker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	require.NoError(t, w.pg.Set(w.ctx(), map[string]string{"fsync": "off"}))
	o := w.options()
	o.DisposableCompute = true
	terms := w.terms()
	refused := func(why string) {
		t.Helper()
		var r *walproposer.Refusal
		require.ErrorAs(t, w.propose(o).wait(), &r)
		require.Contains(t, r.Reason, why)
		require.Equal(t, terms, w.terms())
	}
	refused("carries no marker")
	elsewhere(t, w.pg.DataDir())
	refused("was started anew since")
	require.NoError(t, disposable.Write(w.pg.DataDir(), here(t, w.pg.DataDir())))
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	require.Eventually(t, func() bool { ok, _ := p.health.Status(); return ok }, patience, 20*time.Millisecond, "fsync = off is no finding here")
	p.stop()
	require.NoError(t, w.pg.Stop(w.ctx(), compute.Immediate))
}

// A server that was started by hand after its machine had crashed gets no term,
// with fsync and without the option either: its WAL may be whole and its pages not.
func TestServerInACondemnedDirectoryGetsNoTerm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	elsewhere(t, w.pg.DataDir())
	terms := w.terms()
	for _, with := range []bool{false, true} {
		o := w.options()
		o.DisposableCompute = with
		var r *walproposer.Refusal
		require.ErrorAs(t, w.propose(o).wait(), &r)
		require.Contains(t, r.Reason, "must not be started")
		require.Contains(t, r.Reason, "was started anew since")
		require.Contains(t, r.Hint, "Rebuild the server")
	}
	require.Equal(t, terms, w.terms())
}
