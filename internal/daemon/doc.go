// Package daemon is the process around walhaven's programs: signals, exit
// codes, the group of goroutines that make up a program, logging set-up, and
// the HTTP server with /metrics, /livez, /readyz, /v1/ and /debug/.
//
//	os.Exit(daemon.Main("safekeeper", os.Stderr, func(ctx context.Context) error {
//		health := daemon.NewHealth()
//		web := daemon.NewHTTP(daemon.HTTPOptions{Program: "safekeeper", Health: health, ...})
//		ln, err := daemon.Listen(ctx, cfg.ListenHTTP) // Bound before anything is ready.
//		...
//		var group daemon.Group
//		group.Add("http", func(ctx context.Context) error { return web.Serve(ctx, ln) })
//		group.Add("safekeeper", keeper.Run)
//		return group.Run(ctx)
//	}))
//
// HTTP only reads: every method but GET and HEAD is refused, whatever a handler
// would do. What changes state goes over the PostgreSQL connection.
//
// What does not belong here: knowledge of any program, of the PostgreSQL
// protocol, or of WAL; the names of a program's own metrics and checks.
package daemon
