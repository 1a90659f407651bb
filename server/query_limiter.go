package server

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/sync/semaphore"

	"github.com/oei-ms/oei-ms/store"
)

// wholeTurn is what a question costs that takes a turn for itself. Ones that cost less, and more
// than light ones, share it.
const wholeTurn = 4 * store.LightCost

// heavy lets so many questions that cost much be answered at a time as leave the processors to
// ingest, in the order they came. Others pass.
type heavy struct {
	turns            *semaphore.Weighted
	wait             time.Duration
	running, waiting prometheus.Gauge
	refused          prometheus.Counter
}

// newHeavy makes turns of them, 0 being half of the processors, for which a question waits at most
// so long.
func newHeavy(turns int, wait time.Duration, reg prometheus.Registerer) *heavy {
	if turns == 0 {
		turns = max(runtime.GOMAXPROCS(0)/2, 1)
	}
	f := promauto.With(reg)
	return &heavy{
		turns: semaphore.NewWeighted(int64(turns) * wholeTurn), wait: wait,
		running: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_heavy_questions_running",
			Help: "Questions over much data that are being answered.",
		}),
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_heavy_questions_waiting",
			Help: "Questions over much data that wait for their turn.",
		}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_heavy_questions_refused_total",
			Help: "Questions over much data that were refused, since their turn did not come in time.",
		}),
	}
}

// enter returns when a question that costs so much may be answered; leave has to be called when it
// is. It is a 503 when the turn does not come in time, and ctx's error when that ends first.
func (h *heavy) enter(ctx context.Context, cost int64) (leave func(), err error) {
	if cost <= store.LightCost {
		return func() {}, nil
	}
	limited, cancel := context.WithTimeout(ctx, h.wait)
	defer cancel()
	leave, err = h.turn(limited, cost)
	if err != nil && ctx.Err() == nil {
		h.refused.Inc()
		return nil, h.busy()
	}
	return leave, err
}

// inTurns has each piece of an answer that costs so much wait for a turn of its own, so that others
// have theirs between. The first one waits as enter does, those behind it, when the answer has
// begun, as long as it takes.
func (h *heavy) inTurns(cost int64) func(context.Context) (leave func(), err error) {
	enter := h.enter
	return func(ctx context.Context) (func(), error) {
		if cost <= store.LightCost {
			return func() {}, nil
		}
		leave, err := enter(ctx, cost)
		enter = h.turn
		return leave, err
	}
}

func (h *heavy) turn(ctx context.Context, cost int64) (leave func(), err error) {
	weight := min(cost, wholeTurn)
	if !h.turns.TryAcquire(weight) { // which nobody overtakes others by
		h.waiting.Inc()
		err = h.turns.Acquire(ctx, weight)
		h.waiting.Dec()
		if err != nil {
			return nil, fmt.Errorf("wait for a turn: %w", err)
		}
	}
	h.running.Inc()
	return func() {
		h.running.Dec()
		h.turns.Release(weight)
	}, nil
}

func (h *heavy) busy() *problem {
	return &problem{
		status: http.StatusServiceUnavailable,
		detail: "Too many questions over much data are being answered; try again, or ask for a shorter range, fewer sensors, or a longer interval.",
		header: map[string]string{"Retry-After": strconv.Itoa(int(h.wait.Seconds()) + 1)},
	}
}
