package daemon

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func get(t *testing.T, h http.Handler, method, target string, change func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.RemoteAddr = "127.0.0.1:4000"
	r.Host = "127.0.0.1:7676"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestReadyz(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		health := NewHealth()
		web := NewHTTP(HTTPOptions{Program: "safekeeper", Health: health})
		require.Equal(t, 503, get(t, web, "GET", "/readyz", nil).Code, "nothing vouches for it yet")

		start := time.Now()
		disk, quorum := health.Check("disk"), health.Check("quorum")
		polled := true
		extra := health.CheckFunc("extra", func() (bool, string) { return polled, "asked" })
		time.Sleep(time.Minute)
		disk.OK()
		quorum.Fail("1 of 3\nanswers")
		time.Sleep(time.Minute)
		quorum.Fail("2 of 5 answer")

		w := get(t, web, "GET", "/readyz", nil)
		require.Equal(t, 503, w.Code)
		stamp := func(d time.Duration) string { return start.Add(d).UTC().Format(time.RFC3339) }
		require.Equal(t, []string{
			"FAILED",
			"ok      disk    since " + stamp(time.Minute),
			"FAILED  quorum  since " + stamp(0) + "  2 of 5 answer",
			"ok      extra   since " + stamp(2*time.Minute) + "  asked",
		}, lines(w.Body.String()))
		require.Equal(t, 200, get(t, web, "GET", "/livez", nil).Code, "the process answers")

		quorum.OK()
		w = get(t, web, "GET", "/readyz?format=json", nil)
		require.Equal(t, 200, w.Code)
		var answer struct {
			OK     bool
			Checks []CheckStatus
		}
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		require.True(t, answer.OK)
		require.Equal(t, "quorum", answer.Checks[1].Name)
		require.WithinDuration(t, start.Add(2*time.Minute), answer.Checks[1].Since, 0)

		polled = false
		require.Equal(t, 503, get(t, web, "GET", "/readyz", nil).Code)
		health.Remove(extra)
		health.Remove(extra)
		require.Equal(t, 200, get(t, web, "GET", "/readyz", nil).Code)
	})
}

func lines(s string) []string {
	var trimmed []string
	for line := range strings.Lines(s) {
		trimmed = append(trimmed, strings.TrimRight(line, " \n"))
	}
	return trimmed
}

func TestHTTPOnlyReads(t *testing.T) {
	reached := false
	web := NewHTTP(HTTPOptions{Program: "x", V1: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true })})
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "CONNECT", "OPTIONS", "BREW"} {
		w := get(t, web, method, "/v1/timelines", nil)
		require.Equal(t, 405, w.Code, method)
		require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
	}
	require.False(t, reached)
	require.Equal(t, 200, get(t, web, "GET", "/v1/timelines", nil).Code)
	require.True(t, reached)
	require.Equal(t, 404, get(t, web, "GET", "/other", nil).Code)
	require.Contains(t, get(t, web, "GET", "/", nil).Body.String(), "/readyz")
}

func TestDebugIsForLoopbackOnly(t *testing.T) {
	web := NewHTTP(HTTPOptions{Program: "x"})
	web.HandleDebug("/debug/commits", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }))
	require.Equal(t, 204, get(t, web, "GET", "/debug/commits", nil).Code)
	require.Equal(t, 200, get(t, web, "GET", "/debug/pprof/cmdline", nil).Code)
	for name, change := range map[string]func(*http.Request){
		"ipv6":         func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:1", "[::1]:2" },
		"mapped":       func(r *http.Request) { r.RemoteAddr = "[::ffff:127.0.0.1]:1" },
		"by name":      func(r *http.Request) { r.Host = "localhost:7676" },
		"without port": func(r *http.Request) { r.Host = "localhost" },
	} {
		require.Equal(t, 204, get(t, web, "GET", "/debug/commits", change).Code, name)
	}
	for name, change := range map[string]func(*http.Request){
		"another machine": func(r *http.Request) { r.RemoteAddr = "192.0.2.1:1" },
		"proxy":           func(r *http.Request) { r.Header.Set("X-Forwarded-For", "127.0.0.1") },
		"rebound name":    func(r *http.Request) { r.Host = "evil.example:7676" },
		"no address":      func(r *http.Request) { r.RemoteAddr = "@" },
	} {
		require.Equal(t, 403, get(t, web, "GET", "/debug/commits", change).Code, name)
		require.Equal(t, 403, get(t, web, "GET", "/debug/pprof/heap", change).Code, name)
	}
}

func TestMetrics(t *testing.T) {
	health := NewHealth()
	health.Check("disk").OK()
	health.Check("quorum")
	health.Check("quorum") // A name taken twice must not break the page.
	registry := NewRegistry("safekeeper", health)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	body := get(t, NewHTTP(HTTPOptions{Program: "safekeeper", Gatherer: registry}), "GET", "/metrics", nil).Body.String()
	for _, line := range []string{
		`walhaven_safekeeper_check_ok{check="disk"} 1`, `walhaven_safekeeper_check_ok{check="quorum"} 0`,
		"walhaven_safekeeper_build_info{", "go_goroutines ", "process_open_fds ",
	} {
		require.Contains(t, body, line)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ln, err := Listen(ctx, "127.0.77.1:0") // Nobody else listens there when it is closed.
	require.NoError(t, err)
	require.True(t, IsLoopback(ln.Addr().String()))
	_, err = Listen(ctx, ln.Addr().String())
	require.ErrorContains(t, err, "listen on 127.0.77.1")

	entered := make(chan struct{})
	web := NewHTTP(HTTPOptions{Program: "x", V1: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done() // A long answer ends with the server.
		_, _ = io.WriteString(w, "bye")
	})})
	served := make(chan error, 1)
	go func() { served <- web.Serve(ctx, ln) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer := make(chan string, 1)
	go func() {
		response, err := client.Get("http://" + ln.Addr().String() + "/v1/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		answer <- string(body)
	}()
	<-entered
	cancel()
	require.Equal(t, "bye", <-answer)
	require.NoError(t, <-served)
	_, err = net.Dial("tcp", ln.Addr().String())
	require.Error(t, err)
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	require.ErrorContains(t, NewHTTP(HTTPOptions{Program: "x"}).Serve(t.Context(), ln), "serve HTTP")
}

func TestIsLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "127.9.9.9:1": true,
		":1": false, "0.0.0.0:1": false, "example.org:1": false, "10.0.0.1:1": false, "nonsense": false,
	} {
		require.Equal(t, want, IsLoopback(addr), addr)
	}
}
