package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/redistest"
)

// instances are several programs on one PostgreSQL, Redis and Mosquitto, behind a balancer.
type instances struct {
	t        *testing.T
	pg       *pgtest.Instance
	redis    *redistest.Server
	broker   *mosquitto.Broker
	ps       []*process
	dirs     []string
	settings [][]string
	front    *process // the balancer: it sends each request to the next instance that listens
}

func startInstances(t *testing.T, n int) *instances {
	t.Helper()
	in := &instances{
		t:      t,
		pg:     pgtest.Server(t),
		redis:  redistest.Start(t),
		broker: mosquitto.Start(t),
		ps:     make([]*process, n),
	}
	var addrs []string
	for i := range n {
		port := freePort(t)
		addrs = append(addrs, "127.0.0.1:"+port)
		in.dirs = append(in.dirs, dataDir(t))
		in.settings = append(in.settings, []string{
			"PORT=" + port, "DATABASE_URL=" + in.pg.DSN(), "REDIS_URL=" + in.redis.URL(),
			"MQTT_HOST=" + in.broker.Host(), fmt.Sprintf("MQTT_PORT=%d", in.broker.Port()),
			fmt.Sprintf("OEI_MQTT_CLIENT_ID=oei-ms-%d", i),
			"SECRET_KEY=a key of 32 bytes that all of them have",
		})
		in.start(i)
	}
	in.front = &process{t: t, api: balance(t, addrs)}
	return in
}

// start starts an instance, again after it was stopped or killed.
func (in *instances) start(i int) {
	in.t.Helper()
	in.ps[i] = serve(in.t, in.dirs[i], in.settings[i]...)
}

// balance starts an HTTP proxy without sticky sessions, and returns its address.
func balance(t *testing.T, addrs []string) string {
	var n atomic.Int64
	next := func() (addr string) {
		for range addrs {
			addr = addrs[int(n.Add(1))%len(addrs)]
			if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				break
			}
		}
		return addr
	}
	s := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", next()
		},
		Transport: &http.Transport{DisableKeepAlives: true},
	})
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// stored waits until all that the broker acknowledged of l is stored, and checks l.
func (in *instances) stored(l *ledger) {
	in.t.Helper()
	l.awaitStored(in.front, in.pg.DSN())
	l.check(in.t, in.pg.DSN())
}

func TestInstances_BehindABalancerActAsOne(t *testing.T) {
	t.Parallel()
	in := startInstances(t, 2)
	anyone, err := client.NewClientWithResponses("http://" + in.front.api)
	if err != nil {
		t.Fatal(err)
	}
	login, err := anyone.LoginWithResponse(t.Context(),
		client.LoginRequest{Username: "admin", Password: adminPassword})
	if err != nil || login.JSON200 == nil {
		t.Fatalf("login: %v %s", err, body(login))
	}
	// at the other one
	renewed, err := anyone.RefreshSessionWithResponse(t.Context(),
		client.RefreshRequest{RefreshToken: login.JSON200.RefreshToken})
	if err != nil || renewed.JSON200 == nil {
		t.Fatalf("refresh at another instance: %v %s", err, renewed.Body)
	}
	token := renewed.JSON200.AccessToken
	as := func(p *process) *client.ClientWithResponses {
		c, err := client.NewClientWithResponses("http://"+p.api,
			client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
				r.Header.Set("Authorization", "Bearer "+token)
				return nil
			}))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	api := as(in.front)
	d := in.front.register(api, "press")

	var sockets []*socket
	for i, at := range in.ps { // a ticket of one instance opens a socket at the other
		ticket, err := as(in.ps[1-i]).CreateWebSocketTicketWithResponse(t.Context())
		if err != nil || ticket.JSON201 == nil {
			t.Fatalf("ticket: %v %s", err, ticket.Body)
		}
		conn, _, err := websocket.DefaultDialer.DialContext(t.Context(),
			"ws://"+at.api+"/ws?ticket="+ticket.JSON201.Ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s := &socket{conn: conn}
		if err := conn.WriteJSON(map[string]any{
			"type": "subscribe", "topics": []string{fmt.Sprintf("sensors/%d", d.sensorID)},
		}); err != nil {
			t.Fatal(err)
		}
		s.find(t, func(frame string) bool { return strings.Contains(frame, `"type":"subscribed"`) })
		sockets = append(sockets, s)
	}
	sockets = append(sockets, in.front.subscribe(api, fmt.Sprintf("gateways/%d", d.gatewayID)))
	in.front.eventually(10*time.Second, "the instances hear each other", func() bool {
		return in.ps[0].metric("oei_relay_connected") == 1 &&
			in.ps[1].metric("oei_relay_connected") == 1
	})

	gateway, err := d.connect(t.Context(), in.broker.Addr(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	const n = 200
	begin := time.Now().Add(-time.Hour).UnixMilli()
	for i := range n {
		payload := fmt.Appendf(nil, `{"value":%d.5,"timestamp":%d}`, i, begin+int64(i))
		if _, err := gateway.Publish(t.Context(),
			&paho.Publish{Topic: d.topic(), QoS: 1, Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range sockets {
		for v := range n {
			value := fmt.Sprintf(`"value":%d.5,`, v)
			has := func(frame string) bool { return strings.Contains(frame, value) }
			s.find(t, has)
			if again := slices.IndexFunc(s.frames[slices.IndexFunc(s.frames, has)+1:],
				has); again >= 0 {
				t.Errorf("socket %d got %s twice", i, value)
			}
		}
	}
	for i, p := range in.ps {
		if p.metric("oei_ingest_readings_total", `outcome="stored"`) == 0 {
			t.Errorf("instance %d has stored nothing", i)
		}
	}

	in.front.eventually(20*time.Second,
		"what one instance has answered another answers from the cache", func() bool {
			noon := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -2)
			noon = noon.Add(time.Duration(rand.IntN(12)) * time.Hour)
			for _, p := range in.ps {
				res, err := as(p).GetHistoryWithResponse(t.Context(),
					&client.GetHistoryParams{
						SensorID: []int64{d.sensorID},
						Start:    noon,
						End:      noon.Add(time.Hour),
					})
				if err != nil || res.JSON200 == nil {
					t.Fatalf("history: %v %s", err, res.Body)
				}
			}
			return in.ps[1].metric("oei_cache_hits_total", `from="redis"`) > 0
		})

	if out, err := as(in.ps[0]).LogoutWithResponse(t.Context()); err != nil ||
		out.StatusCode() != http.StatusNoContent {
		t.Fatalf("logout: %v %s", err, out.Body)
	}
	for _, p := range in.ps {
		p.eventually(8*time.Second,
			"a token that was revoked at one instance is refused at every one", func() bool {
				me, err := as(p).GetCurrentUserWithResponse(t.Context())
				return err == nil && me.StatusCode() == http.StatusUnauthorized
			})
	}
	for _, s := range sockets {
		_ = s.conn.SetReadDeadline(time.Now().Add(8 * time.Second)) // the limit is 5 s
		s.wantClose(t, 4401)
	}
	if again, err := anyone.RefreshSessionWithResponse(t.Context(),
		client.RefreshRequest{RefreshToken: renewed.JSON200.RefreshToken}); err != nil ||
		again.StatusCode() != http.StatusUnauthorized {
		t.Errorf("refresh after the logout: %v, got %d, want 401", err, again.StatusCode())
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestFaultKillNineOfOneInstance_LosesNothing(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	in := startInstances(t, 2)
	l := newLedger(in.front.registerAll(4))
	stop := l.run(t, in.broker.Addr(),
		load{senders: 16, samples: 1, qos: 1, pause: 20 * time.Millisecond})
	for range rounds(t, 4) {
		l.awaitAcks(in.front, 100, 20*time.Second)
		sleepUpTo(random, 200*time.Millisecond)
		i := random.IntN(2)
		in.ps[i].kill()
		before := query[int](t, in.pg.DSN(), countLedgers)
		in.front.eventually(20*time.Second, "the other one goes on", func() bool {
			return query[int](t, in.pg.DSN(), countLedgers) > before+100
		})
		in.start(i)
	}
	l.awaitAcks(in.front, 100, 20*time.Second)
	stop()
	in.stored(l)
}

// TestFaultRollingRestart_LosesNoAlarmEvent restarts the instances in turn while alarms are raised
// and cleared: clients that resume have every event, once and in order, and no alarm has taken a
// transition twice.
func TestFaultRollingRestart_LosesNoAlarmEvent(t *testing.T) {
	t.Parallel()
	in := startInstances(t, 2)
	l := newLedger(in.front.registerAll(6))
	in.front.addAlarms(l.devices)
	epoch := query[string](t, in.pg.DSN(), `SELECT epoch FROM alarm_log`)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var following sync.WaitGroup
	followers := make([]*follower, 6)
	for i := range followers {
		f := &follower{addrs: []string{in.ps[i%2].api, in.ps[1-i%2].api}, token: in.front.token()}
		followers[i] = f
		following.Go(func() { f.run(ctx, epoch, 0) })
	}
	stop := l.run(t, in.broker.Addr(),
		load{senders: 2, samples: 1, qos: 1, pause: 2 * time.Millisecond})
	events := func() int64 { return query[int64](t, in.pg.DSN(), `SELECT last FROM alarm_log`) }
	grows := func() {
		before := events()
		in.front.eventually(30*time.Second, "alarms come and go",
			func() bool { return events() > before+10 })
	}
	for range rounds(t, 1) {
		for i, p := range in.ps {
			grows()
			if code := p.stop(); code != 0 {
				t.Errorf("SIGTERM: got exit code %d, want 0", code)
			}
			grows()
			in.start(i)
		}
	}
	grows()
	stop()
	in.stored(l)
	var last int64
	in.front.eventually(20*time.Second, "every client has the last event", func() bool {
		last = events() // one may have been under way
		return !slices.ContainsFunc(followers, func(f *follower) bool { return f.last() < last })
	})
	end()
	following.Wait()
	for i, f := range followers {
		f.check(t, fmt.Sprint("client ", i), last)
	}
	checkTransitions(t, in.pg.DSN())
	t.Logf("%d events", last)
}

// checkTransitions looks for transitions taken twice: each begins with the state that the one
// before it ended with, has a newer version, and the occurrences are counted without gaps.
func checkTransitions(t *testing.T, dsn string) {
	t.Helper()
	const twice = `
		SELECT count(*)
		FROM (
			SELECT before, lag(after) OVER w AS led, version, lag(version) OVER w AS older,
			occurrence, lag(occurrence, 1, 0::bigint) OVER w AS counted
			FROM alarm_events
			WINDOW w AS (PARTITION BY alarm_id ORDER BY "offset")) e
		WHERE before <> led OR version <= older OR occurrence NOT IN (counted, counted + 1)`
	if n := query[int](t, dsn, twice); n > 0 {
		t.Errorf("%d events do not follow from the one before", n)
	}
}
