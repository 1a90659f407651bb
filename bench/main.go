// Command bench measures OEI-MS beside the limits of the machine it runs on. What matters are the
// ratios within one run.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options say how long and how much is measured.
type options struct {
	gateways int
	points   int           // readings in a message of the batch scenario
	window   int           // messages of a gateway that wait for their PUBACK
	duration time.Duration // of each scenario
	rate     int           // messages a second of the paced scenario
	only     string        // one scenario
	days     int           // of readings that series asks about
	years    int           // of readings that years asks about, one a day
	dense    int           // years of those that there are a minute
	data     string        // where series keeps what it has loaded; "": nowhere
}

func run(ctx context.Context) error {
	var o options
	flag.IntVar(&o.gateways, "gateways", 100, "gateways that publish")
	flag.IntVar(&o.points, "points", 100, "readings in a message, where it is not one")
	flag.IntVar(&o.window, "window", 200, "messages of a gateway that may wait for their PUBACK")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "of each scenario")
	flag.IntVar(&o.rate, "rate", 1000, "messages a second of the paced scenario")
	flag.StringVar(&o.only, "only", "",
		"only this scenario: single, poison, batch, paced, copy, relay or external; of push: "+
			"fanout, slow, frames, dashboards, memory or storm; of alarms: rules or flood; of "+
			"scale: "+
			"mosquitto or embedded, also with -1 or -100 for the readings in a message; of series: "+
			"questions, kept, export, heavy, rollups or compaction")
	flag.IntVar(&o.days, "days", 30, "of series: how many days of 10 readings a second are loaded")
	flag.IntVar(&o.years, "years", 10, "of years: how many years of a reading a day are loaded")
	flag.IntVar(&o.dense, "dense", 2, "of years: how many years of 20 readings a minute are loaded")
	flag.StringVar(&o.data, "data", "",
		"of series: a directory to keep what is loaded in, and to find it the next time")
	what := "ingest"
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		what = os.Args[1]
		os.Args = append(os.Args[:1], os.Args[2:]...)
	}
	flag.Parse()
	fmt.Printf("%s, %s, %d cores, %s\n\n", time.Now().UTC().Format(time.DateOnly),
		runtime.Version(), runtime.NumCPU(), runtime.GOOS)
	switch what {
	case "ingest":
		return ingest(ctx, o)
	case "push":
		return livePush(ctx, o)
	case "alarms":
		return alarms(ctx, o)
	case "series":
		return series(ctx, o)
	case "scale":
		return scale(ctx, o)
	case "years":
		return years(ctx, o)
	}
	return fmt.Errorf("%q is none of ingest, push, alarms, series, scale, years", what)
}
