package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the HTTP server. Requests have no body worth reading.
const (
	maxHeaderBytes    = 16 << 10
	readHeaderTimeout = 5 * time.Second
	writeTimeout      = 2 * time.Minute // Above the longest profile that is sensible.
	idleTimeout       = time.Minute
	shutdownGrace     = 2 * time.Second
	maxConns          = 256
)

// HTTPOptions describe a program's HTTP server.
type HTTPOptions struct {
	Program  string // "safekeeper": names the metrics.
	Health   *Health
	Gatherer prometheus.Gatherer // What /metrics serves; nil leaves it out.
	V1       http.Handler        // Serves /v1/; nil leaves it out.
	Logger   *slog.Logger
	TLS      *tls.Config // Nil serves plain HTTP.
}

// HTTP is a program's HTTP server. It only reads: methods other than GET and
// HEAD are refused before any handler sees them.
type HTTP struct {
	mux     *http.ServeMux
	logger  *slog.Logger
	tls     *tls.Config
	program string
}

// NewHTTP returns a server that serves nothing until Serve.
func NewHTTP(o HTTPOptions) *HTTP {
	s := &HTTP{mux: http.NewServeMux(), logger: o.Logger, tls: o.TLS, program: o.Program}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	started := time.Now()
	s.mux.HandleFunc("/livez", func(w http.ResponseWriter, r *http.Request) {
		writeHealth(w, r, true, []CheckStatus{{Name: "process", OK: true, Since: started}})
	})
	if o.Health != nil {
		s.mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
			ready, checks := o.Health.Status()
			writeHealth(w, r, ready, checks)
		})
	}
	if o.Gatherer != nil {
		s.mux.Handle("/metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{ErrorLog: promLog{s.logger}}))
	}
	if o.V1 != nil {
		s.mux.Handle("/v1/", o.V1)
	}
	s.mux.HandleFunc("/{$}", s.index)
	s.HandleDebug("/debug/pprof/", http.HandlerFunc(pprof.Index))
	s.HandleDebug("/debug/pprof/cmdline", http.HandlerFunc(pprof.Cmdline))
	s.HandleDebug("/debug/pprof/profile", http.HandlerFunc(pprof.Profile))
	s.HandleDebug("/debug/pprof/symbol", http.HandlerFunc(pprof.Symbol))
	s.HandleDebug("/debug/pprof/trace", http.HandlerFunc(pprof.Trace))
	return s
}

// Handle adds a handler; the pattern is a path without a method. Call it before
// Serve.
func (s *HTTP) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// HandleDebug adds a handler that answers clients on loopback only.
func (s *HTTP) HandleDebug(pattern string, h http.Handler) { s.mux.Handle(pattern, loopbackOnly(h)) }

// ServeHTTP answers one request, for tests and for serving inside another server.
func (s *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) { readOnly(s.mux).ServeHTTP(w, r) }

// Serve answers requests on ln, which it closes, until ctx ends. Requests in
// flight then get up to 2 s; Serve returns when all are gone.
func (s *HTTP) Serve(ctx context.Context, ln net.Listener) error {
	// Long answers such as profiles end when ctx does.
	server := &http.Server{
		Handler: s, TLSConfig: s.tls, MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readHeaderTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(s.logger.Handler(), slog.LevelWarn),
		ConnState:   newConnLimit(maxConns).changed,
	}
	failed := make(chan error, 1)
	go func() {
		if s.tls != nil {
			failed <- server.ServeTLS(ln, "", "")
			return
		}
		failed <- server.Serve(ln)
	}()
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("serve HTTP: %w", err), server.Close())
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // Cut off what did not end in time.
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// index lists what there is, for a person with a browser.
func (s *HTTP) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s %s\n/livez\n/readyz\n/metrics\n/v1/\n/debug/pprof/ (loopback only)\n", s.program, Version())
}

// Listen binds addr (host:port). Bind every listener before reporting ready.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", cmp.Or(addr, "an empty address"), err)
	}
	return ln, nil
}

// promLog hands promhttp's complaints to our logger.
type promLog struct{ logger *slog.Logger }

func (l promLog) Println(v ...any) { l.logger.Warn("gather metrics", "error", fmt.Sprint(v...)) }
