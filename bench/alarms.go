package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/lib/pq"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// alarms measures the cost of rules for ingest, and a flood of alarms. Half of the gateways have a
// rule on each sensor, the other half have none; they publish in turns.
func alarms(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	// without self-monitoring, whose alarms would be counted
	s, err := startService(ctx, dir, "ADMIN_PASSWORD="+benchPassword, "OEI_MONITOR_INTERVAL=0s",
		"OEI_NOTIFY_ALLOWED_TARGETS=127.0.0.1")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	db, err := sql.Open("postgres", postgres.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	both := o
	both.gateways *= 2
	keys, err := register(ctx, db, both)
	if err != nil {
		return err
	}
	token, err := s.login()
	if err != nil {
		return err
	}
	ruled, plain := keys[:o.gateways], keys[o.gateways:]
	if err := s.addRules(ctx, db, token, o.gateways); err != nil {
		return err
	}
	fmt.Printf("%d rules on %d of %d sensors\n", o.gateways*o.points, o.gateways*o.points,
		2*o.gateways*o.points)
	if o.only == "" || o.only == "rules" {
		if err := withRules(ctx, s, db, o, ruled, plain); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "flood" {
		return flood(ctx, s, db, token, o, ruled, plain)
	}
	return nil
}

// addRules creates a rule by the API, and copies of it for every other sensor of the first
// gateways.
func (s *service) addRules(ctx context.Context, db *sql.DB, token string, gateways int) error {
	const rule = `{"sensor_id":1,"rule":{
		"name":"Bearing hot","kind":"threshold","severity":"major","deadband":{"value":2},
		"limits":{"high":{"value":80},"high_high":{"value":95,"severity":"critical"}}}}`
	if err := s.create(ctx, token, "/api/alarms", rule); err != nil {
		return err
	}
	for g := 1; g <= gateways; g++ { // in several statements: each updates the same row
		for _, q := range []string{
			`INSERT INTO alarms (sensor_id, name, severity, rule)
				SELECT s.id, a.name, a.severity, a.rule FROM alarms a, sensors s WHERE a.id = 1
				AND s.id > 1 AND s.gateway_id = $1`,
			`INSERT INTO alarm_inputs (sensor_id, alarm_id)
				SELECT a.sensor_id, a.id FROM alarms a JOIN sensors s ON s.id = a.sensor_id
				WHERE a.id > 1 AND s.gateway_id = $1`,
			`INSERT INTO alarm_states (since, alarm_id, rule_version, rank, state, severity, memory)
				SELECT t.since, a.id, t.rule_version, t.rank, t.state, t.severity, t.memory
				FROM alarms a JOIN sensors s ON s.id = a.sensor_id, alarm_states t
				WHERE t.alarm_id = 1 AND a.id > 1 AND s.gateway_id = $1`,
		} {
			if _, err := db.ExecContext(ctx, q, g); err != nil {
				return fmt.Errorf("create alarms: %w", err)
			}
		}
	}
	if _, err := db.ExecContext(ctx, `ANALYZE`); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // until the service has read them
	return nil
}

// withRules compares ingest to sensors with rules with ingest to sensors without.
func withRules(
	ctx context.Context, s *service, db *sql.DB, o options, ruled, plain []string,
) error {
	fmt.Printf("%-44s %10s %10s %8s %8s  %-21s %8s\n", "", "messages/s", "readings/s", "p50", "p99",
		"CPU µs/reading", "memory")
	version := 0
	for _, scenario := range []struct {
		title              string
		points, rate, turn int
	}{
		{"one reading a message, full speed", 1, 0, 3},
		{fmt.Sprintf("%d readings a message, full speed", o.points), o.points, 0, 3},
		{"one reading a message, 2,000 readings/s", 1, 2000, 1},
	} {
		var rates, costs []float64 // ratios, with rules to without
		for range scenario.turn {  // in turns, because the machine varies
			version++
			var rate, cost [2]float64
			for i, keys := range [][]string{plain, ruled} {
				title := []string{scenario.title, "  with rules"}[i]
				f := &fleet{
					addrs:   []string{s.mqtt},
					o:       o,
					points:  scenario.points,
					rate:    scenario.rate,
					version: version,
				}
				if _, err := measure(ctx, title, f, s, db, keys); err != nil {
					return err
				}
				rate[i], cost[i] = float64(f.stored), float64(f.cpu)/float64(f.acked.Load())
			}
			rates, costs = append(rates, rate[1]/rate[0]), append(costs, cost[1]/cost[0])
		}
		if scenario.turn == 3 {
			fmt.Printf("%-44s %21.2f %24s %.2f\n", "  ratio, median of three", median(rates),
				"of CPU", median(costs))
		}
	}
	return nil
}

// flood raises 1,000 alarms within 10 s while other gateways publish, and follows them to a socket.
func flood(
	ctx context.Context, s *service, db *sql.DB, token string, o options, ruled, plain []string,
) error {
	const count, within = 1000, 10 * time.Second
	var first int64
	if err := db.QueryRowContext(ctx, `SELECT last FROM alarm_log`).Scan(&first); err != nil {
		return err
	}
	received := startReceiver()
	defer received.Close()
	if err := received.subscribe(ctx, s, token); err != nil {
		return err
	}
	ws, _, err := s.live(ctx, token)
	if err != nil {
		return err
	}
	defer ws.Close()
	subscribe := map[string]any{"type": "subscribe", "topics": []string{"alarms"}}
	if err := ws.WriteJSON(subscribe); err != nil {
		return err
	}
	arrived := make(chan map[int64]time.Time, 1) // time of each sensor's event
	go func() {
		arrivals, next := map[int64]time.Time{}, first
		for len(arrivals) < count {
			var frame struct {
				Type   string `json:"type"`
				Offset int64  `json:"offset"`
				Event  struct {
					Kind     string `json:"kind"`
					SensorID int64  `json:"sensor_id"`
				} `json:"event"`
			}
			_, b, err := ws.ReadMessage()
			if err != nil || json.Unmarshal(b, &frame) != nil {
				break
			}
			if frame.Type != "alarm" {
				continue
			}
			if next++; frame.Offset != next || frame.Event.Kind != "raised" {
				break
			}
			arrivals[frame.Event.SensorID] = time.Now()
		}
		arrived <- arrivals
	}()
	others := &fleet{addrs: []string{s.mqtt}, o: o, points: 1, rate: 2000, version: 20}
	others.o.duration = within
	secrets := make([]string, len(plain))
	for i := range secrets {
		secrets[i] = secret
	}
	publishing := make(chan error, 1)
	go func() { publishing <- others.run(ctx, plain, secrets) }()
	acked, err := raise(ctx, s, db, o, ruled, count, within)
	if err := errors.Join(err, <-publishing); err != nil {
		return err
	}
	time.AfterFunc(5*time.Second, func() { ws.Close() })
	arrivals := <-arrived
	delay := new(histogram)
	for id, at := range acked {
		if t, ok := arrivals[id]; ok {
			delay.add(max(0, t.Sub(at)))
		}
	}
	var events, raised, last int64
	const log = `SELECT count(*), count(DISTINCT alarm_id) FILTER (WHERE kind = 'raised'),
		max("offset") FROM alarm_events WHERE "offset" > $1`
	if err := db.QueryRowContext(ctx, log, first).Scan(&events, &raised, &last); err != nil {
		return err
	}
	notified, of := received.wait(count, 10*time.Second)
	hs := []*histogram{delay}
	fmt.Printf("%-44s\n%-44s %12d\n%-44s %12d of %d alarms, offsets %d to %d\n%-44s %12d\n%-44s "+
		"%12v\n%-44s %12v\n%-44s %12d of %d alarms\n",
		"1,000 alarms in 10 s, with 2,000 readings/s", "breaches acknowledged", len(acked),
		"events in the log", events, raised, first+1, last,
		"events on the socket, in order, without gaps", len(arrivals),
		"PUBACK to frame, p50", quantile(hs, 0.5).Round(10*time.Microsecond),
		"PUBACK to frame, p99", quantile(hs, 0.99).Round(10*time.Microsecond),
		"notifications by webhook",
		notified, of)
	return check(len(acked) == count && events == count && raised == count &&
		last == first+count && len(arrivals) == count && of == count,
		"alarms are missing")
}

// raise publishes one reading above the limit to each of count sensors and returns when each was
// acknowledged.
func raise(
	ctx context.Context, s *service, db *sql.DB, o options, keys []string, count int,
	within time.Duration,
) (map[int64]time.Time, error) {
	var mu sync.Mutex
	acked := make(map[int64]time.Time, count)
	var failed atomic.Pointer[error]
	var publishers sync.WaitGroup
	begin := time.Now()
	per := (count + len(keys) - 1) / len(keys)
	if per > o.points {
		return nil, fmt.Errorf("%d alarms need more than %d sensors", count, len(keys)*o.points)
	}
	for i, key := range keys {
		var ids []int64 // of s1, s2, …
		const q = `
			SELECT array_agg(s.id ORDER BY substr(s.key, 2)::int)
			FROM sensors s JOIN gateways g ON g.id = s.gateway_id
			WHERE g.key = $1`
		if err := db.QueryRowContext(ctx, q, key).Scan(pq.Array(&ids)); err != nil {
			return nil, err
		}
		conn, err := net.Dial("tcp", s.mqtt)
		if err != nil {
			return nil, err
		}
		c := paho.NewClient(paho.ClientConfig{Conn: conn, PacketTimeout: time.Minute})
		if _, err := c.Connect(ctx, &paho.Connect{
			ClientID:     key,
			CleanStart:   true,
			KeepAlive:    60,
			Username:     key,
			UsernameFlag: true,
			Password:     []byte(secret),
			PasswordFlag: true,
		}); err != nil {
			return nil, err
		}
		publishers.Go(func() {
			defer func() { _ = c.Disconnect(&paho.Disconnect{}) }()
			for n := range min(per, count-i*per) {
				time.Sleep(time.Until(
					begin.Add(time.Duration(n*len(keys)+i) * within / time.Duration(count)),
				))
				topic := fmt.Sprintf("sensors/%s/s%d/data", key, n+1)
				if _, err := c.Publish(ctx,
					&paho.Publish{
						Topic: topic, QoS: 1, Payload: []byte(`{"value":90}`),
					}); err != nil {
					failed.Store(&err)
					return
				}
				at := time.Now()
				mu.Lock()
				acked[ids[n]] = at
				mu.Unlock()
			}
		})
	}
	publishers.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	return acked, nil
}
