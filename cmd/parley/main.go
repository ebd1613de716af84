// Command parley is the server and its command line in one binary.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly stop; a second one finds the default handler again.
	context.AfterFunc(ctx, stop)
	code := run(ctx, system(), os.Args[1:])
	stop()
	os.Exit(code)
}

func system() *terminal {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "." // no home, as in some containers: credentials then stand beside the work
	}
	return &terminal{
		in: os.Stdin, interactive: interactive(os.Stdin), out: os.Stdout, err: os.Stderr,
		environ: os.Environ(), dir: ".", home: home, now: time.Now,
	}
}
