package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/operator"
)

type upCmd struct {
	Detach      bool          `help:"Return when everything runs; without it Ctrl-C stops the cluster."`
	Dir         string        `help:"Folder of the cluster." default:"walhaven-data" type:"path"`
	PgBin       string        `help:"Folder of PostgreSQL's programs (default: PG_CONFIG, PATH, /usr/lib/postgresql)." type:"path"`
	Major       int           `help:"PostgreSQL major to use, 14 to 18 (default: PG, else any)."`
	Download    bool          `help:"Fetch PostgreSQL's programs into .tools when there are none." default:"true" negatable:""`
	Safekeepers int           `help:"Number of safekeepers of a new cluster." default:"3"`
	Bench       time.Duration `help:"How long pgbench runs on a new cluster; 0 leaves it out." default:"5s"`
	InProcess   bool          `help:"Run the walproposer of a new cluster with --in-process."`
	EarlyPush   bool          `help:"Run the walproposer of a new cluster with --early-push." default:"true" negatable:""`

	DisposableCompute bool `help:"Run PostgreSQL with fsync = off, in a new cluster or one that is stopped: faster, and after a crash of its machine it has to be rebuilt."`
}

// Run starts the cluster and, unless detached, stops it again at the end.
func (u *upCmd) Run(ctx context.Context) error {
	env, err := compute.WantFromEnv()
	if err != nil {
		return err
	}
	cluster, err := operator.Up(ctx, operator.UpOptions{
		Dir: u.Dir, BinDir: cmp.Or(u.PgBin, env.BinDir), Major: cmp.Or(u.Major, env.Major), Download: u.Download,
		Safekeepers: u.Safekeepers, Bench: u.Bench, InProcess: u.InProcess,
		EarlyPush: u.EarlyPush, Disposable: u.DisposableCompute, Out: os.Stdout,
	})
	if err != nil {
		return err
	}
	if u.Detach {
		return nil
	}
	fmt.Println("\nCtrl-C stops the cluster.")
	err = cluster.Wait(ctx)
	// The context may be done: stopping must not be cut short by the same Ctrl-C.
	return errors.Join(err, operator.Down(context.WithoutCancel(ctx), u.Dir, false, os.Stdout))
}

type downCmd struct {
	Dir   string `help:"Folder of the cluster." default:"walhaven-data" type:"path"`
	Purge bool   `help:"Delete the folder afterwards, all WAL in it and the base backup."`
	Yes   bool   `help:"Do not ask before deleting."`
}

// Run stops the cluster; it asks before it deletes anything.
func (d *downCmd) Run(ctx context.Context) error {
	if d.Purge && !d.Yes {
		fmt.Printf("Delete %s with all its WAL and the base backup? Type yes: ", d.Dir)
		answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if strings.TrimSpace(answer) != "yes" {
			return errors.Join(errors.New("nothing was stopped or deleted; answer yes, or give --yes"), err)
		}
	}
	return operator.Down(ctx, d.Dir, d.Purge, os.Stdout)
}
