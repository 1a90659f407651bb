// Command oei-ms monitors industrial equipment: it stores the readings that gateways publish over
// MQTT, evaluates alarms, and serves both over REST and WebSocket.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/oei-ms/oei-ms/internal/cli"
)

// stopTimeout bounds a stop, which a database that hangs could hold up.
const stopTimeout = 9 * time.Second

// gcPercent keeps the heap smaller than Go's default does, for a few per cent of processor time at
// full rate. GOGC overrides it.
const gcPercent = 58

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		time.AfterFunc(stopTimeout, func() {
			fmt.Fprintf(os.Stderr, "oei-ms: not stopped after %v, exiting; "+
				"what was not committed was not acknowledged\n", stopTimeout)
			os.Exit(1)
		})
	})
	if err := cli.Command(os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "oei-ms:", err)
		os.Exit(1)
	}
}
