package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"

	"github.com/oei-ms/oei-ms/store"
)

// QueryConfig bounds expensive queries, such as long ranges of history, exports and simulations.
type QueryConfig struct {
	// MaxConcurrent is how many run at once; 0: half as many as there are processors.
	MaxConcurrent int           `mapstructure:"max_concurrent"`
	MaxWait       time.Duration `mapstructure:"max_wait"` // of others, before they are rejected
}

// DefaultQueryConfig returns the defaults.
func DefaultQueryConfig() QueryConfig { return QueryConfig{MaxWait: 2 * time.Second} }

// Validate reports every setting that cannot work.
func (c QueryConfig) Validate() error {
	var errs []error
	if c.MaxConcurrent < 0 || c.MaxConcurrent > 1000 {
		errs = append(errs, fmt.Errorf("OEI_QUERY_MAX_CONCURRENT: %d is out of range; "+
			"use 1 to 1000, or 0 for half as many as there are processors", c.MaxConcurrent))
	}
	if c.MaxWait < 0 || c.MaxWait > 5*time.Minute {
		errs = append(errs, fmt.Errorf("OEI_QUERY_MAX_WAIT: %v is out of range; use 0s to 5m0s",
			c.MaxWait))
	}
	return errors.Join(errs...)
}

// fullCost is the cost of a query that uses up one of the concurrent queries. Queries that cost
// less than that, but are not cheap, share one.
const fullCost = 4 * store.LightCost

// queryLimiter bounds how many expensive queries run at once, in the order of their arrival, so
// that ingest has processors left. Cheap queries pass.
type queryLimiter struct {
	slots            *semaphore.Weighted
	maxWait          time.Duration
	running, waiting prometheus.Gauge
	rejected         prometheus.Counter
}

func newQueryLimiter(cfg QueryConfig, reg prometheus.Registerer) *queryLimiter {
	concurrent := cfg.MaxConcurrent
	if concurrent == 0 {
		concurrent = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	f := promauto.With(reg)
	return &queryLimiter{
		slots:   semaphore.NewWeighted(int64(concurrent) * fullCost),
		maxWait: cfg.MaxWait,
		running: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_query_running",
			Help: "Expensive queries that are running.",
		}),
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_query_waiting",
			Help: "Expensive queries that wait for others to end.",
		}),
		rejected: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_query_rejected_total",
			Help: "Expensive queries rejected because others did not end in time.",
		}),
	}
}

// acquire waits until a query of this cost may run; call release when it has. The error is a 503
// when others do not end in time, or that of ctx.
func (l *queryLimiter) acquire(ctx context.Context, cost int64) (release func(), err error) {
	if cost <= store.LightCost {
		return func() {}, nil
	}
	limited, cancel := context.WithTimeout(ctx, l.maxWait)
	defer cancel()
	release, err = l.wait(limited, cost)
	if err != nil && ctx.Err() == nil {
		l.rejected.Inc()
		return nil, l.busy()
	}
	return release, err
}

// perPiece returns a function that acquires the limiter for one piece of a long answer of this
// cost, so that other queries run between the pieces. The first piece waits as acquire does. Later
// pieces wait for any time, because the answer has begun.
func (l *queryLimiter) perPiece(cost int64) func(context.Context) (release func(), err error) {
	acquire := l.acquire
	return func(ctx context.Context) (func(), error) {
		if cost <= store.LightCost {
			return func() {}, nil
		}
		release, err := acquire(ctx, cost)
		acquire = l.wait
		return release, err
	}
}

func (l *queryLimiter) wait(ctx context.Context, cost int64) (release func(), err error) {
	weight := min(cost, fullCost)
	if !l.slots.TryAcquire(weight) { // fails while others wait, so that none is overtaken
		l.waiting.Inc()
		err = l.slots.Acquire(ctx, weight)
		l.waiting.Dec()
		if err != nil {
			return nil, fmt.Errorf("wait for other queries: %w", err)
		}
	}
	l.running.Inc()
	return func() {
		l.running.Dec()
		l.slots.Release(weight)
	}, nil
}

func (l *queryLimiter) busy() *problem {
	seconds := int(l.maxWait.Seconds()) + 1
	return &problem{
		status: http.StatusServiceUnavailable,
		detail: "Too many expensive queries are running; try again, or use a shorter range, " +
			"fewer sensors, or a longer interval.",
		retry: retryAfter{min: seconds, max: 2 * seconds},
	}
}
