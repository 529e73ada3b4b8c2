package walproposer_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/compute/computetest"
)

// TestPushWorkersLogInWithTokens: the processes that send WAL have no password.
// The tap, which has it, gets them a token for each connection; where a safekeeper
// knows no tokens they are told the password for the one connection.
func TestPushWorkersLogInWithTokens(t *testing.T) {
	const password = "a secret"
	t.Setenv("WALHAVEN_WALPROPOSER_SAFEKEEPER_PASSWORD", password)
	users := filepath.Join(t.TempDir(), "users")
	v, err := auth.MakeVerifier(password)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(users, []byte(auth.User{Name: "walhaven", Verifier: v, Admin: true}.String()+"\n"), 0o600))
	w := newWorld(t, computetest.Options{}, func(k *keeper) {
		k.policy.Users, err = auth.LoadUsers(users, nil)
		require.NoError(t, err)
		k.login = " user=walhaven password='" + password + "'"
		if k.id == 3 {
			k.policy.Tokens = nil
		}
	})
	o := w.options()
	o.InProcess = false
	p := w.propose(o)
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	pushedBy := func(k *keeper, method string) {
		t.Helper()
		var got any
		require.Eventually(t, func() bool {
			rows, err := k.query(w, "SHOW RECEIVERS")
			require.NoError(t, err)
			if len(rows) != 1 {
				return false
			}
			require.Equal(t, "walhaven", rows[0]["usename"], "whoever makes the connection, it is the operator's user")
			got, _ = k.logins.methods.Load(rows[0]["client_addr"])
			return true
		}, patience, 10*time.Millisecond, "safekeeper %d has a proposer", k.id)
		require.Equal(t, method, got, "safekeeper %d", k.id)
	}
	for i, method := range []string{"token", "token", "scram-sha-256"} {
		pushedBy(w.keepers[i], method)
	}

	environments := func(pids ...int) (all [][]byte, err error) {
		for _, pid := range pids {
			env, rerr := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			all, err = append(all, env), errors.Join(err, rerr)
		}
		return all, err
	}
	var tap, pushers [][]byte
	require.Eventually(t, func() bool { // One that was replaced just now has none.
		st := p.Status()
		var tapErr, pushErr error
		tap, tapErr = environments(st.TapPID)
		pushers, pushErr = environments(st.PushPIDs...)
		return tapErr == nil && pushErr == nil && len(pushers) == 3
	}, patience, 10*time.Millisecond)
	require.Contains(t, string(tap[0]), password, "the tap has the password")
	for _, env := range pushers {
		require.NotContains(t, string(env), password, "a push worker has not")
	}

	// Another connection is another token, also that to a donor: the first keeper
	// lacks more than the queue holds.
	w.keepers[0].down()
	w.exec("INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(10, 8000) i")
	w.keepers[0].up()
	pushedBy(w.keepers[0], "token")
	require.Eventually(t, func() bool {
		all := w.statuses()
		return all[0].FlushLSN == all[1].FlushLSN && all[0].CommitLSN == all[1].CommitLSN
	}, patience, 10*time.Millisecond)
}
