package cache

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// still returns a cache of a database in which only those changes happen that the test adds.
func still(t *testing.T, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg, "", nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.changes.add(time.Now(), found(100))
	return c
}

func (c *Cache) counted(from string) float64 { return value(c.metrics.hits.WithLabelValues(from)) }

// text is an answer with this body.
func text(body string) Answer { return Answer{Body: []byte(body)} }

// value returns the value of a counter or a gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

func TestCache_ConcurrentCallersShareOneComputation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t, DefaultConfig())
		var computed atomic.Int32
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				got, err := c.Get(t.Context(), *hours(0, 1),
					func(context.Context) (Answer, error) {
						computed.Add(1)
						time.Sleep(500 * time.Millisecond)
						return text("answer"), nil
					})
				if string(got.Body) != "answer" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		asking.Wait()
		if n := computed.Load(); n != 1 || c.counted("flight") != 9 {
			t.Errorf("computed %d times, shared %v", n, c.counted("flight"))
		}
	})
}

func TestCache_DoesNotShareAnAnswerFromBeforeAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t, DefaultConfig())
		slow := func(answer string) func(context.Context) (Answer, error) {
			return func(context.Context) (Answer, error) {
				time.Sleep(500 * time.Millisecond)
				return text(answer), nil
			}
		}
		var first sync.WaitGroup
		first.Go(func() { _, _ = c.Get(t.Context(), *hours(0, 1), slow("before")) })
		synctest.Wait()
		c.changes.add(time.Now(), found(110, change(105, 1, noon)))
		if got, err := c.Get(t.Context(), *hours(0, 1),
			slow("after")); string(got.Body) != "after" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		first.Wait()
	})
}

func TestCache_CanceledCallerFailsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t, DefaultConfig())
		slow := func(ctx context.Context) (Answer, error) {
			select {
			case <-ctx.Done():
				return Answer{}, ctx.Err()
			case <-time.After(200 * time.Millisecond):
				return text("answer"), nil
			}
		}
		var asking sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		asking.Go(func() {
			if _, err := c.Get(ctx, *hours(0, 1), slow); !errors.Is(err, context.Canceled) {
				t.Errorf("the caller that was canceled: got %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			asking.Go(func() {
				if got, err := c.Get(t.Context(), *hours(0, 1),
					slow); string(got.Body) != "answer" ||
					err != nil {
					t.Errorf("another caller: got %q, %v", got, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		asking.Wait()
	})
}

func TestCache_DoesNotKeepAnError(t *testing.T) {
	c := still(t, DefaultConfig())
	fault := errors.New("fault")
	if _, err := c.Get(t.Context(), *hours(0, 1),
		func(context.Context) (Answer, error) { return Answer{}, fault }); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Get(t.Context(), *hours(0, 1),
			func(context.Context) (Answer, error) { panic("fault") })
	}()
	if got, err := c.Get(t.Context(), *hours(0, 1),
		func(context.Context) (Answer,
			error,
		) {
			return text("answer"), nil
		}); string(got.Body) != "answer" || err != nil {
		t.Errorf("after it: got %q, %v", got, err)
	}
}

func TestMemory_EvictsTheEntryWithTheOldestUse(t *testing.T) {
	cfg := Config{Bytes: 4 * (1000 + entryOverhead), MaxAnswer: 1000}
	c := still(t, cfg)
	computed := 0
	ask := func(key byte, size int) {
		t.Helper()
		q := *hours(0, 1)
		q.Key[0] = key
		got, err := c.Get(t.Context(), q, func(context.Context) (Answer, error) {
			computed++
			return Answer{Body: bytes.Repeat([]byte{key}, size)}, nil
		})
		if err != nil || len(got.Body) != size || got.Body[0] != key {
			t.Fatalf("%d: got %d bytes, %v", key, len(got.Body), err)
		}
	}
	wants := func(what string, n int) {
		t.Helper()
		if computed != n {
			t.Errorf("%s: computed %d, want %d", what, computed, n)
		}
		computed = 0
		if c.memory.bytes > cfg.Bytes || value(c.metrics.bytes) != float64(c.memory.bytes) {
			t.Errorf("%s: %d bytes, %v counted", what, c.memory.bytes, value(c.metrics.bytes))
		}
	}
	for key := range byte(4) {
		ask(key, 1000)
	}
	wants("four", 4)
	ask(0, 1000)
	ask(4, 1000)
	wants("a fifth", 1)
	for _, key := range []byte{0, 2, 3, 4} {
		ask(key, 1000)
	}
	wants("all but the one with the oldest use", 0)
	ask(1, 1000)
	wants("that one", 1)
	ask(9, 1001)
	ask(9, 1001)
	wants("one that is too large, twice", 2)
	if n := value(c.metrics.evictions); n != 2 {
		t.Errorf("evictions: got %v, want 2", n)
	}
}
