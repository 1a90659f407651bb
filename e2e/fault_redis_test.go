package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/redistest"
)

// TestFaultRedisUnavailable_LosesNoEvent kills, stops and empties Redis during readings and alarm
// events: ingest continues, and soon after Redis is back every client of every instance has every
// event, readings of the other instance arrive again, and a revoked token is refused all the time.
func TestFaultRedisUnavailable_LosesNoEvent(t *testing.T) {
	t.Parallel()
	pg, redis := pgtest.Server(t), redistest.Start(t)
	settings := []string{
		"DATABASE_URL=" + pg.DSN(), "REDIS_URL=" + redis.URL(),
		"SECRET_KEY=a key of 32 bytes that all of them have",
	}
	one, other := serve(t, dataDir(t), settings...), serve(t, dataDir(t), settings...)
	db := database(t, pg.DSN())
	defer db.Close()
	revoked := one.revokedToken()
	l := newLedger(one.registerAll(4))
	readings := other.countFrames("sensor_data", "gateways/status",
		fmt.Sprintf("gateways/%d", l.devices[0].gatewayID))
	var following sync.WaitGroup
	defer following.Wait()
	ctx, end := context.WithCancel(t.Context())
	defer end()
	epoch := query[string](t, pg.DSN(), `SELECT epoch FROM alarm_log`)
	var followers []*follower
	for i := range 6 {
		f := &follower{addrs: []string{[]*process{one, other}[i%2].api}, token: one.token()}
		followers = append(followers, f)
		following.Go(func() { f.run(ctx, epoch, 0) })
	}
	stop := l.run(t, one.mqtt, load{senders: 8, samples: 1, qos: 1, pause: 5 * time.Millisecond})
	last, lasts := int64(0), time.Duration(rounds(t, 2))*time.Second*3/10
	rate := func() float64 {
		from, began := l.count(), time.Now()
		for time.Since(began) < lasts {
			if err := addAlarmEvents(db, 1); err != nil {
				t.Fatal(err)
			}
			last++
			time.Sleep(lasts / 10)
		}
		return float64(l.count()-from) / time.Since(began).Seconds()
	}
	refused := func(when string) {
		t.Helper()
		for _, p := range []*process{one, other} {
			if got := p.statusWith(revoked, "/api/auth/me"); got != http.StatusUnauthorized {
				t.Errorf("%s: a token that was revoked: got %d, want 401", when, got)
			}
		}
	}
	again := func() {
		t.Helper()
		from := readings.Load()
		other.eventually(20*time.Second, "readings of the other instance come",
			func() bool { return readings.Load() > from })
	}
	again()
	for _, fault := range []struct {
		name         string
		strike, heal func()
	}{
		{"killed", redis.Kill, redis.Run},
		{"stopped", redis.Pause, redis.Resume},
		{"emptied", redis.Flush, func() {}},
	} {
		before := rate()
		fault.strike()
		during := rate()
		refused(fault.name)
		fault.heal()
		one.eventually(10*time.Second, fault.name+": every client has every event", func() bool {
			return !slices.ContainsFunc(followers,
				func(f *follower) bool { return f.last() < last })
		})
		again()
		refused(fault.name + ", and back")
		t.Logf("%s for %v: %.0f readings/s before, %.0f meanwhile, %.2f of it", fault.name, lasts,
			before, during, during/before)
		if lasts >= 10*time.Second && during < 0.95*before { // in less time it says little
			t.Errorf("%s: got %.2f of the rate before, want 0.95", fault.name, during/before)
		}
	}
	stop()
	end()
	following.Wait()
	for i, f := range followers {
		f.check(t, fmt.Sprint("client ", i), last)
	}
	l.check(t, pg.DSN())
}

// revokedToken returns an access token of a login session that has ended, as every instance knows.
func (p *process) revokedToken() string {
	p.t.Helper()
	token := p.token()
	req, err := http.NewRequest(http.MethodPost, "http://"+p.api+"/api/auth/logout", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusNoContent {
		p.t.Fatalf("logout: %v %v", res, err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	return token
}

// statusWith returns the status of GET path with an access token.
func (p *process) statusWith(token, path string) int {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+p.api+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer res.Body.Close()
	return res.StatusCode
}

// countFrames counts the messages of a kind on a socket with these topics, until the test ends.
func (p *process) countFrames(kind string, topics ...string) *atomic.Int64 {
	p.t.Helper()
	s, n := p.subscribe(p.login(), topics...), new(atomic.Int64)
	if err := s.conn.SetReadDeadline(time.Time{}); err != nil {
		p.t.Fatal(err)
	}
	go func() { // ends with the socket
		for {
			var m liveFrame
			if s.conn.ReadJSON(&m) != nil {
				return
			}
			if m.Type == kind {
				n.Add(1)
			}
		}
	}()
	return n
}
