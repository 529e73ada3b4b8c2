// Package compute runs stock PostgreSQL servers: it finds the binaries of
// majors 14 to 18 (or unpacks them without touching the system), creates data
// directories, writes settings, starts, stops and kills servers, and runs the
// tools that come with them.
//
//	install, err := compute.Find(ctx, compute.Want{Major: 17})
//	server, err := compute.Init(ctx, compute.InitOptions{Install: install, DataDir: dir})
//	err = server.Start(ctx, compute.StartOptions{})
//	defer server.Stop(context.Background(), compute.Fast)
//
// PostgreSQL refuses to run as root. A process that is root runs it as the
// user postgres, or nobody where there is none, and hands over only folders
// that it made itself.
//
// A server is started as a direct child in a session of its own, so that a
// Ctrl-C meant for us does not reach it, and is told to end when we die,
// unless it was started to outlive us ([StartOptions].Detach).
//
// What does not belong here: replication, and any knowledge of walhaven's own
// programs. Tests get a running server in one line from package
// [github.com/walhaven/walhaven/compute/computetest].
package compute
