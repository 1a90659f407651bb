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

// still is a cache of a database in which nothing changes but what the test has it learn.
func still(t *testing.T, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg, "", nil, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c.changes.learn(time.Now(), found(100))
	return c
}

func (c *Cache) counted(from string) float64 { return value(c.metrics.hits.WithLabelValues(from)) }

// value is that of a counter or a gauge.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

func TestWhoAsksTheSameAtTheSameTimeGetsOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t, DefaultConfig())
		var computed atomic.Int32
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				got, err := c.Answer(t.Context(), *hours(0, 1),
					func(context.Context) ([]byte, error) {
						computed.Add(1)
						time.Sleep(500 * time.Millisecond)
						return []byte("answer"), nil
					})
				if string(got) != "answer" || err != nil {
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

func TestWhoAsksBehindAChangeDoesNotShareAnAnswerFromBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t, DefaultConfig())
		slow := func(answer string) func(context.Context) ([]byte, error) {
			return func(context.Context) ([]byte, error) {
				time.Sleep(500 * time.Millisecond)
				return []byte(answer), nil
			}
		}
		var first sync.WaitGroup
		first.Go(func() { _, _ = c.Answer(t.Context(), *hours(0, 1), slow("before")) })
		synctest.Wait()
		c.changes.learn(time.Now(), found(110, change(105, 1, noon)))
		if got, err := c.Answer(t.Context(), *hours(0, 1), slow("behind")); string(got) != "behind" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		first.Wait()
	})
}

func TestOneWhoGoesFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := still(t, DefaultConfig())
		slow := func(ctx context.Context) ([]byte, error) {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(200 * time.Millisecond):
				return []byte("answer"), nil
			}
		}
		var asking sync.WaitGroup
		ctx, gone := context.WithCancel(t.Context())
		asking.Go(func() {
			if _, err := c.Answer(ctx, *hours(0, 1), slow); !errors.Is(err, context.Canceled) {
				t.Errorf("the one who goes: got %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			asking.Go(func() {
				if got, err := c.Answer(t.Context(), *hours(0, 1), slow); string(got) != "answer" ||
					err != nil {
					t.Errorf("another: got %q, %v", got, err)
				}
			})
		}
		synctest.Wait()
		gone()
		asking.Wait()
	})
}

func TestAnErrorIsForAllAndNotKept(t *testing.T) {
	c := still(t, DefaultConfig())
	fault := errors.New("fault")
	if _, err := c.Answer(t.Context(), *hours(0, 1),
		func(context.Context) ([]byte, error) { return nil, fault }); !errors.Is(err, fault) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Answer(t.Context(), *hours(0, 1),
			func(context.Context) ([]byte, error) { panic("fault") })
	}()
	if got, err := c.Answer(t.Context(), *hours(0, 1),
		func(context.Context) ([]byte, error) { return []byte("answer"), nil }); string(got) != "answer" || err != nil {
		t.Errorf("behind it: got %q, %v", got, err)
	}
}

func TestMemoryKeepsWhatWasAskedForLast(t *testing.T) {
	cfg := Config{Bytes: 4 * (1000 + overhead), MaxAnswer: 1000}
	c := still(t, cfg)
	computed := 0
	ask := func(key byte, size int) {
		t.Helper()
		q := *hours(0, 1)
		q.Key[0] = key
		got, err := c.Answer(t.Context(), q, func(context.Context) ([]byte, error) {
			computed++
			return bytes.Repeat([]byte{key}, size), nil
		})
		if err != nil || len(got) != size || got[0] != key {
			t.Fatalf("%d: got %d bytes, %v", key, len(got), err)
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
	wants("all but the one that was not asked for since", 0)
	ask(1, 1000)
	wants("that one", 1)
	ask(9, 1001)
	ask(9, 1001)
	wants("one that is too large, twice", 2)
	if n := value(c.metrics.evictions); n != 2 {
		t.Errorf("evictions: got %v, want 2", n)
	}
}
