package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/redistest"
)

// token logs in as the admin and returns the access token.
func (p *process) token() string {
	p.t.Helper()
	c, err := client.NewClientWithResponses("http://" + p.api)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := c.LoginWithResponse(p.t.Context(),
		client.LoginRequest{Username: "admin", Password: adminPassword})
	if err != nil || res.JSON200 == nil {
		p.t.Fatalf("login: %v %s", err, body(res))
	}
	return res.JSON200.AccessToken
}

// live opens a WebSocket.
func live(ctx context.Context, addr, token string) (*websocket.Conn, error) {
	ws, _, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+addr+"/ws",
		http.Header{"Authorization": {"Bearer " + token}})
	return ws, err
}

// liveFrame holds the members of a message that tests read.
type liveFrame struct {
	Type    string
	Epoch   string
	Offset  int64
	Dropped int64
	Items   []liveItem
	liveItem
}

type liveItem struct {
	SensorID int64 `json:"sensor_id"`
	Data     struct{ Value float64 }
}

// follower is a client that records the alarm log, and resumes after its last event at any
// instance.
type follower struct {
	addrs []string
	token string

	mu     sync.Mutex
	ws     *websocket.Conn
	epoch  string
	log    []int64
	resync int
}

// run follows until ctx ends, from the offset after.
func (f *follower) run(ctx context.Context, epoch string, after int64) {
	f.epoch = epoch
	for n := 0; ctx.Err() == nil; n++ {
		if ws, err := live(ctx, f.addrs[n%len(f.addrs)], f.token); err == nil {
			f.read(ctx, ws, after)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (f *follower) read(ctx context.Context, ws *websocket.Conn, after int64) {
	defer ws.Close()
	defer context.AfterFunc(ctx, func() { ws.Close() })()
	f.mu.Lock()
	f.ws = ws
	if len(f.log) > 0 {
		after = f.log[len(f.log)-1]
	}
	f.mu.Unlock()
	resume := map[string]any{"epoch": f.epoch, "offset": after}
	if ws.WriteJSON(map[string]any{
		"type": "subscribe", "topics": []string{"alarms"}, "resume": resume,
	}) != nil {
		return
	}
	for {
		var m liveFrame
		if ws.ReadJSON(&m) != nil {
			return
		}
		f.mu.Lock()
		switch m.Type {
		case "alarm":
			f.log = append(f.log, m.Offset)
		case "resync":
			f.resync++
		}
		f.mu.Unlock()
	}
}

// cut breaks the connection without a close frame.
func (f *follower) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ws != nil {
		f.ws.NetConn().Close()
	}
}

func (f *follower) last() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.log) == 0 {
		return 0
	}
	return f.log[len(f.log)-1]
}

// check wants every event up to last, each once and in order.
func (f *follower) check(t *testing.T, name string, last int64) {
	t.Helper()
	for i, offset := range f.log {
		if offset != int64(i+1) {
			t.Fatalf("%s: its event %d has offset %d", name, i+1, offset)
		}
	}
	if int64(len(f.log)) != last || f.resync > 0 {
		t.Errorf("%s: got %d events and %d resyncs, want %d events", name, len(f.log), f.resync,
			last)
	}
}

// addAlarmEvents appends n events to the log the way the store does, in one transaction.
func addAlarmEvents(db *sql.DB, n int) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	const insert = `
		WITH l AS (UPDATE alarm_log SET last = last + $1 RETURNING last)
		INSERT INTO alarm_events ("offset", at, occurrence, version, alarm_id, sensor_id,
		gateway_id, rule_version, quiet, kind, before, after, level,
			severity, message, username, comment)
		SELECT l.last - $1 + i, now(), 1, 1, 1, 1, 1, 1, false, 'raised', 'normal',
		'active_unacknowledged', 'high', 'major', 'it is hot', '', ''
		FROM l, generate_series(1, $1::int) AS i`
	if _, err := tx.Exec(insert, n); err != nil {
		return err
	}
	if _, err := tx.Exec(`SELECT pg_notify('alarm_events', '')`); err != nil {
		return err
	}
	return tx.Commit()
}

// TestFaultCuts_LoseNoAlarmEvent cuts sockets, Redis and instances during alarm events: in the end
// the log of each client equals the table.
func TestFaultCuts_LoseNoAlarmEvent(t *testing.T) {
	t.Parallel()
	random := randomSource(t)
	pg, redis := pgtest.Server(t), redistest.Start(t)
	settings := []string{
		"DATABASE_URL=" + pg.DSN(), "REDIS_URL=" + redis.URL(),
		"SECRET_KEY=a key of 32 bytes that all of them have",
	}
	var ps [2]*process
	var dirs [2]string
	var all [2][]string
	for i := range ps {
		dirs[i], all[i] = dataDir(t), append(freePorts(t), settings...)
		ps[i] = serve(t, dirs[i], all[i]...)
	}
	db, err := sql.Open("postgres", pg.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var epoch string
	if err := db.QueryRow(`SELECT epoch FROM alarm_log`).Scan(&epoch); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	followers := make([]*follower, 10)
	for i := range followers {
		f := &follower{addrs: []string{ps[i%2].api, ps[1-i%2].api}, token: ps[0].token()}
		followers[i] = f
		running.Go(func() { f.run(ctx, epoch, 0) })
	}
	adding, enough := context.WithCancel(ctx)
	running.Go(func() {
		for n := 1; adding.Err() == nil; n++ {
			if err := addAlarmEvents(db, 1+n%5); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	for round := range rounds(t, 20) {
		sleepUpTo(random, 100*time.Millisecond)
		switch round % 20 {
		case 7:
			redis.Kill()
			sleepUpTo(random, time.Second)
			redis.Run()
		case 13:
			i := random.IntN(2)
			ps[i].kill()
			ps[i] = serve(t, dirs[i], all[i]...)
		default:
			followers[random.IntN(len(followers))].cut()
		}
	}
	enough()
	var last int64
	if err := db.QueryRow(`SELECT last FROM alarm_log`).Scan(&last); err != nil {
		t.Fatal(err)
	}
	ps[0].eventually(20*time.Second, "every client has the last event", func() bool {
		_ = db.QueryRow(`SELECT last FROM alarm_log`).Scan(&last) // one may have been under way
		return !slices.ContainsFunc(followers, func(f *follower) bool { return f.last() < last })
	})
	stop()
	running.Wait()
	for n, f := range followers {
		f.check(t, fmt.Sprint("client ", n), last)
	}
	t.Logf("%d events", last)
}

// TestSnapshot_IsFollowedByEveryReading subscribes repeatedly during readings: after those of the
// snapshot every reading follows, once.
func TestSnapshot_IsFollowedByEveryReading(t *testing.T) {
	t.Parallel()
	p := serve(t, dataDir(t))
	d := p.register(p.login(), "press")
	token := p.token()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	gateway, err := d.connect(ctx, p.mqtt, func() {})
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int64
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		begin := time.Now().Add(-time.Hour).UnixMilli()
		for n := int64(1); ctx.Err() == nil; n++ {
			payload := fmt.Appendf(nil, `{"value":%d,"timestamp":%d}`, n, begin+n)
			if _, err := gateway.Publish(ctx,
				&paho.Publish{Topic: d.topic(), QoS: 1, Payload: payload}); err != nil {
				return
			}
			sent.Store(n)
		}
	})
	p.eventually(10*time.Second, "readings come", func() bool { return sent.Load() > 10 })
	for round := range 60 {
		ws, err := live(ctx, p.api, token)
		if err != nil {
			t.Fatal(err)
		}
		topics := [][]string{
			{fmt.Sprintf("sensors/%d", d.sensorID)},
			{fmt.Sprintf("gateways/%d", d.gatewayID), "sensors?type=temperature"},
		}[round%2]
		if err := ws.WriteJSON(map[string]any{
			"type": "subscribe", "topics": topics, "snapshot": true,
		}); err != nil {
			t.Fatal(err)
		}
		_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
		var got []float64
		told := false
		for len(got) < 30 {
			var m liveFrame
			if err := ws.ReadJSON(&m); err != nil {
				t.Fatalf("round %d: %v after %v", round, err, got)
			}
			switch m.Type {
			case "snapshot":
				told = true
				for _, item := range m.Items {
					got = append(got, item.Data.Value)
				}
			case "sensor_data":
				got = append(got, m.Data.Value)
			}
		}
		ws.Close()
		for i := range got {
			if got[i] != got[0]+float64(i) {
				t.Fatalf("round %d: got %v, want no hole and nothing twice", round, got)
			}
		}
		if !told {
			t.Fatalf("round %d: no snapshot", round)
		}
	}
}
