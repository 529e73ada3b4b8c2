// Command fetchpg makes sure that a PostgreSQL is on this machine and prints
// the folder of its programs. What is missing is unpacked below .tools; nothing
// of the system changes. The Makefile runs it before tests.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/walhaven/walhaven/compute"
)

func main() {
	majors := flag.String("majors", os.Getenv("PG"), "majors, separated by commas; empty: any one")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	for text := range strings.SplitSeq(*majors, ",") {
		if err := fetch(ctx, text); err != nil {
			fmt.Fprintln(os.Stderr, "fetchpg:", err)
			os.Exit(1) //nolint:gocritic // The signals need no undoing.
		}
	}
}

func fetch(ctx context.Context, text string) error {
	want := compute.Want{Download: true, Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }}
	if text != "" {
		major, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no major version", text)
		}
		want.Major = major
	}
	install, err := compute.Find(ctx, want)
	if err != nil {
		return err
	}
	fmt.Println(install.BinDir)
	return nil
}
