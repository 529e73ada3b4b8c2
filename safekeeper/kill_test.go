package safekeeper_test

import (
	"cmp"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
)

// realProcess is a program of ours as its own process.
type realProcess struct {
	t    *testing.T
	path string
	args []string
	http string
	cmd  *exec.Cmd
}

func buildProgram(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../cmd/"+name).CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// freeAddr is below the ports that the system gives to connections: nobody takes
// it while who listens there is down.
func freeAddr(t *testing.T) string {
	t.Helper()
	port, err := compute.FreePort()
	require.NoError(t, err)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// startReal starts name as a process and waits until it is ready.
func startReal(t *testing.T, name string, id uint64, args ...string) (*node, *realProcess) {
	t.Helper()
	n := &node{id: id, dir: filepath.Join(t.TempDir(), "data")}
	p := &realProcess{t: t, path: buildProgram(t, name), http: freeAddr(t)}
	n.process = &process{t: t, addr: freeAddr(t)}
	p.args = append([]string{
		"--id", strconv.FormatUint(id, 10), "--data-dir", n.dir, "--listen-pg", n.addr, "--listen-http", p.http, "--log-level", "warn",
	}, args...)
	p.start()
	t.Cleanup(p.kill)
	return n, p
}

func (p *realProcess) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stderr = os.Stderr
	require.NoError(p.t, p.cmd.Start())
	require.Eventually(p.t, func() bool {
		code, _ := p.get("/readyz")
		return code == http.StatusOK
	}, patience, 20*time.Millisecond)
}

func (p *realProcess) get(path string) (int, []byte) {
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Get("http://" + p.http + path)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, body
}

func (p *realProcess) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// Both programs are killed while WAL streams; what was acknowledged is there
// afterwards, the pageserver catches up, and SIGTERM ends both with exit 0.
func TestKilledProcessesKeepWhatTheyAcknowledged(t *testing.T) {
	o := builtOrigin(t, 4<<20)
	ps, psProcess := startReal(t, "pageserver", 9)
	sk, skProcess := startReal(t, "safekeeper", 1, "--pageserver", ps.addr, "--min-free-disk", "1")
	o.found(t, []*node{sk})

	acknowledged := wal.LSN(0)
	for i, end := range []wal.LSN{o.ends[len(o.ends)/3], o.ends[len(o.ends)*2/3], o.end()} {
		p := propose(t, sk, o, wal.Term(i+1), nil)
		require.GreaterOrEqual(t, p.pos, acknowledged)
		p.append(end, 0)
		p.waitFlush(end)
		acknowledged = end
		p.append(end, end)
		sk.waitLSN("commit_lsn", end)
		if i == 1 {
			psProcess.kill()
		}
		skProcess.kill()
		p.close()
		skProcess.start()
		require.GreaterOrEqual(t, sk.lsn("flush_lsn"), acknowledged)
		if i == 1 {
			psProcess.start()
		}
	}
	// The commit position of a killed node is only as new as its last save; a
	// proposer says it again.
	p := propose(t, sk, o, 9, nil)
	p.append(o.end(), o.end())
	ps.waitLSN("disk_consistent_lsn", o.end())
	requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, sk, ps)
	requirePromtoolIsHappy(t, skProcess, psProcess)
	for _, proc := range []*realProcess{skProcess, psProcess} {
		require.NoError(t, proc.cmd.Process.Signal(os.Interrupt))
		require.NoError(t, proc.cmd.Wait())
		proc.cmd = nil
	}
}

// requirePromtoolIsHappy runs promtool check metrics where there is one.
func requirePromtoolIsHappy(t *testing.T, processes ...*realProcess) {
	t.Helper()
	promtool, err := exec.LookPath(cmp.Or(os.Getenv("PROMTOOL"), "promtool"))
	if err != nil {
		t.Log("promtool is not installed")
		return
	}
	for _, p := range processes {
		code, body := p.get("/metrics")
		require.Equal(t, http.StatusOK, code)
		cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		go func() {
			_, _ = in.Write(body)
			_ = in.Close()
		}()
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Empty(t, string(out))
	}
}
