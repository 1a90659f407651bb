package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/store"
)

func TestWebhook_IsSignedAndRetriedWithTheSameKey(t *testing.T) {
	p := newFixture(t)
	r := newReceiver(t, func(n int) int { return map[bool]int{true: 503, false: 204}[n == 1] })
	p.route(store.Route{ChannelID: p.webhook(r.URL).ID})
	n := p.notifier()
	p.raise(1, 1)
	p.step(n, noon)
	if d := p.deliveries(); len(d) != 1 || d[0].Status != "waiting" ||
		d[0].Detail != "answered 503" || !d[0].DueAt.After(noon) {
		t.Fatalf("after a failure: got %+v", d)
	}
	p.step(n, noon.Add(time.Second)) // too early
	p.step(n, noon.Add(time.Minute))
	p.step(n, noon.Add(time.Hour))
	got := r.all()
	if len(got) != 2 {
		t.Fatalf("got %d requests, want 2", len(got))
	}
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	for _, g := range got {
		h := g.header
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), g.body)
		if want := "v1," +
			base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.Get("webhook-signature") != want {
			t.Errorf("signature: got %q, want %q", h.Get("webhook-signature"), want)
		}
		if h.Get("webhook-id") != got[0].header.Get("webhook-id") ||
			h.Get("Idempotency-Key") != h.Get("webhook-id") || g.body != got[0].body {
			t.Errorf("attempts differ: %v %s", h, g.body)
		}
	}
	var body struct {
		ID, Type string
		Count    int
		Events   []map[string]any
	}
	if err := json.Unmarshal([]byte(got[0].body), &body); err != nil ||
		body.Type != "alarm.notification" || body.Count != 1 || len(body.Events) != 1 ||
		body.Events[0]["alarm"] != "Oil too hot" || body.Events[0]["sensor"] != "t1" ||
		body.Events[0]["gateway"] != "press-1" {
		t.Errorf("body: got %s, %v", got[0].body, err)
	}
	if d := p.deliveries(); d[0].Status != "delivered" || d[0].Attempts != 2 ||
		d[0].Key != body.ID {
		t.Errorf("log: got %+v", d[0])
	}
}

func TestWebhook_BoundsAttemptsTimeAndSize(t *testing.T) {
	p := newFixture(t)
	hangs := newReceiver(t, always(0))
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(endless.Close)
	headers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	}))
	t.Cleanup(headers.Close)
	tests := map[string]struct{ url, status, detail string }{
		"a receiver that hangs":            {hangs.URL, "failed", "the receiver did not answer"},
		"a receiver with an endless body":  {endless.URL, "delivered", "answered 200"},
		"a receiver with 1 MiB of headers": {headers.URL, "failed", "request failed"},
		"a receiver that does not listen":  {"http://127.0.0.1:1", "failed", "request failed"},
	}
	n := p.notifier(func(c *notify.Config) { c.Timeout, c.MaxAttempts = 300*time.Millisecond, 3 })
	for name, test := range tests {
		c := p.webhook(test.url)
		d, err := n.TestChannel(t.Context(), c.ID)
		if err != nil || d.Status != test.status || !strings.HasPrefix(d.Detail, test.detail) {
			t.Errorf("%s: got %s %q, %v", name, d.Status, d.Detail, err)
		}
	}
	p.route(store.Route{ChannelID: p.webhook(hangs.URL).ID})
	p.raise(1, 1)
	before := len(hangs.all())
	for i := range 10 {
		p.step(n, noon.Add(time.Duration(i)*time.Hour))
	}
	if got := len(hangs.all()) - before; got != 3 {
		t.Errorf("attempts: got %d, want 3", got)
	}
}

func TestFlood_IsGroupedIntoFewNotifications(t *testing.T) {
	p := newFixture(t)
	r := newReceiver(t, always(204))
	p.route(store.Route{ChannelID: p.webhook(r.URL).ID, GroupSeconds: 2})
	n := p.notifier()
	for i := range 100 { // 1,000 alarms in 10 s
		p.raise(10, 1)
		p.step(n, noon.Add(time.Duration(i)*100*time.Millisecond))
	}
	p.step(n, noon.Add(time.Minute))
	total := 0
	for _, g := range r.all() {
		var body struct {
			Count  int
			Events []any
		}
		if err := json.Unmarshal([]byte(g.body), &body); err != nil ||
			len(body.Events) > store.MaxNotificationEvents {
			t.Errorf("body: %d events, %v", len(body.Events), err)
		}
		total += body.Count
	}
	if got := len(r.all()); got > 10 || total != 1000 {
		t.Errorf("got %d notifications of %d alarms, want at most 10 of 1000", got, total)
	}
}

func TestDelivery_IsSentAgainAfterItsLease(t *testing.T) {
	p := newFixture(t)
	r := newReceiver(t, func(n int) int { return map[bool]int{true: 0, false: 204}[n == 1] })
	p.route(store.Route{ChannelID: p.webhook(r.URL).ID})
	first, second := p.notifier(), p.notifier()
	p.raise(1, 1)
	if err := first.Enqueue(t.Context(), noon); err != nil {
		t.Fatal(err)
	}
	ctx, kill := context.WithCancel(t.Context())
	go func() {
		for len(r.all()) == 0 {
			time.Sleep(time.Millisecond)
		}
		kill()
	}()
	if _, err := first.Deliver(ctx, noon); err == nil {
		t.Fatal("the first attempt was delivered")
	}
	p.step(second, noon.Add(time.Second))
	if got := len(r.all()); got != 1 {
		t.Errorf("during the lease: got %d requests, want 1", got)
	}
	p.step(second, noon.Add(time.Duration(first.Lease()+1)*time.Second))
	got := r.all()
	if len(got) != 2 || got[0].header.Get("webhook-id") != got[1].header.Get("webhook-id") {
		t.Errorf("after the lease: got %d requests, want 2 with the same id", len(got))
	}
	if d := p.deliveries(); len(d) != 1 || d[0].Status != "delivered" {
		t.Errorf("log: got %+v", d)
	}
}

func TestRun_InstancesShareTheWork(t *testing.T) {
	p := newFixture(t)
	r := newReceiver(t, always(204))
	p.route(store.Route{ChannelID: p.webhook(r.URL).ID})
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var ns []*notify.Notifier
	for range 3 {
		n := p.notifier()
		ns = append(ns, n)
		running.Go(func() { _ = n.Run(ctx) })
	}
	const events = 100
	for range events {
		p.raise(1, 1)
		for _, n := range ns {
			n.Wake()
		}
	}
	count := func() (total int, keys map[string]int) {
		keys = map[string]int{}
		for _, g := range r.all() {
			var body struct{ Count int }
			_ = json.Unmarshal([]byte(g.body), &body)
			total += body.Count
			keys[g.header.Get("webhook-id")]++
		}
		return total, keys
	}
	testutil.Eventually(t, testutil.Timeout, "all events are delivered", func() bool {
		total, _ := count()
		return total >= events
	})
	stop()
	running.Wait()
	total, keys := count()
	if total != events {
		t.Errorf("events: got %d, want %d", total, events)
	}
	for key, times := range keys {
		if times != 1 {
			t.Errorf("%s was sent %d times, want once", key, times)
		}
	}
}

func TestRun_HangingChannelDoesNotDelayAnother(t *testing.T) {
	p := newFixture(t)
	hanging, healthy := newReceiver(t, always(0)), newReceiver(t, always(204))
	bad, good := p.webhook(hanging.URL), p.webhook(healthy.URL)
	for range 20 {
		p.route(store.Route{ChannelID: bad.ID})
	}
	p.route(store.Route{ChannelID: good.ID})
	n := p.notifier(func(c *notify.Config) { c.Timeout, c.Workers = 20*time.Second, 4 })
	p.raise(1, 1)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = n.Run(ctx) })
	testutil.Eventually(t, testutil.Timeout, "the other channel gets its notification",
		func() bool { return len(healthy.all()) > 0 })
	stop()
	running.Wait()
	if got := len(healthy.all()); got != 1 {
		t.Errorf("the other channel: got %d notifications, want 1", got)
	}
}
