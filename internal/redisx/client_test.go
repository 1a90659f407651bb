package redisx

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/oei-ms/oei-ms/internal/redistest"
)

func TestMain(m *testing.M) {
	// A goroutine of the library sleeps for up to a second after a cluster refresh.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1"))
}

func newClient(t *testing.T, url string, timeout, pause time.Duration) *Client {
	t.Helper()
	c, err := New(url, timeout, pause)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestClient_ConnectsWhenRedisStartsLater(t *testing.T) {
	redis := redistest.Start(t)
	redis.Kill()
	c := newClient(t, redis.URL(), 5*time.Second, time.Millisecond)
	if err := c.Ping(t.Context()); err == nil {
		t.Error("without Redis: got no error")
	}
	redis.Run()
	for end := time.Now().Add(30 * time.Second); c.Ping(t.Context()) != nil; {
		if time.Now().After(end) {
			t.Fatal("with Redis: no answer")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestClient_DoesNotAskAgainDuringThePause(t *testing.T) {
	c := newClient(t, redistest.Start(t).URL(), 5*time.Second, time.Hour)
	failed := errors.New("failed")
	fail := func(context.Context, rueidis.Client) error { return failed }
	if err := c.Do(t.Context(), fail); !errors.Is(err, failed) {
		t.Errorf("the first call: got %v, want its own error", err)
	}
	if err := c.Do(t.Context(), fail); !errors.Is(err, ErrUnavailable) {
		t.Errorf("the second call: got %v, want ErrUnavailable", err)
	}
}

func TestClient_GivesUpAfterItsTimeout(t *testing.T) {
	redis := redistest.Start(t)
	c := newClient(t, redis.URL(), 100*time.Millisecond, time.Hour)
	redis.Pause()
	defer redis.Resume()
	if err := c.Ping(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}
	if err := c.Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("again: got %v, want ErrUnavailable", err)
	}
}

func TestClient_DoesNotPauseForACallerThatIsGone(t *testing.T) {
	c := newClient(t, redistest.Start(t).URL(), 5*time.Second, time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Ping(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want Canceled", err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("the next caller: got %v", err)
	}
}

func TestClosedClient_IsUnavailable(t *testing.T) {
	c := newClient(t, redistest.Start(t).URL(), 5*time.Second, time.Hour)
	if err := c.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := c.Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
}
