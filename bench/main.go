// Command bench measures OEI-MS and the limits of the machine in the same run. The ratios matter,
// not the absolute figures.
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

// options select scenarios and their size.
type options struct {
	gateways int
	points   int           // sensors of a gateway, readings in a message of the batch scenario
	window   int           // messages of a gateway in flight
	duration time.Duration // of each scenario
	rate     int           // messages per second of the paced scenario; 0: several
	only     string        // a single scenario
	days     int           // days of readings that series queries
	years    int           // years of one reading a day that years queries
	dense    int           // years of readings every minute
	data     string        // directory in which series keeps the loaded data; "": none
}

func run(ctx context.Context) error {
	var o options
	flag.IntVar(&o.gateways, "gateways", 100, "gateways that publish")
	flag.IntVar(&o.points, "points", 100,
		"sensors of a gateway, and readings in a message of the batch scenario")
	flag.IntVar(&o.window, "window", 200, "maximum number of messages of a gateway in flight")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "duration of each scenario")
	flag.IntVar(&o.rate, "rate", 0,
		"messages per second of the paced scenario; 0: 10, 1000 and 5000")
	flag.StringVar(&o.only, "only", "",
		"run a single scenario: single, poison, batch, paced, copy, relay or external; of push: "+
			"fanout, slow, frames, dashboards, memory or storm; of alarms: rules or flood; of "+
			"scale: "+
			"mosquitto or embedded, with -1 or -100 for the readings in a message; of series: "+
			"queries, cache, export, expensive, rollups or maintenance; of rest: a part of its "+
			"line, such as sensors")
	flag.IntVar(&o.days, "days", 30, "of series: how many days of 10 readings a second are loaded")
	flag.IntVar(&o.years, "years", 10, "of years: how many years of a reading a day are loaded")
	flag.IntVar(&o.dense, "dense", 2, "of years: how many years of 20 readings a minute are loaded")
	flag.StringVar(&o.data, "data", "",
		"of series: directory in which loaded data is kept for the next run")
	what := "ingest"
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") {
		what = os.Args[1]
		os.Args = append(os.Args[:1], os.Args[2:]...)
	}
	addr := flag.String("addr", "", "of rest-peer, which rest starts: where to listen")
	flag.Parse()
	if what == "rest-peer" {
		return servePlain(ctx, *addr)
	}
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
	case "rest":
		return withService(rest)(ctx, o)
	case "compare":
		return compare(ctx, o, flag.Args())
	}
	return fmt.Errorf("%q is not a benchmark; use ingest, push, alarms, series, scale, years, "+
		"rest or compare", what)
}
