package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

const benchPassword = "a password of the benchmark"

// withService runs a scenario with a newly started program.
func withService(
	run func(context.Context, *service, string, options) error,
) func(context.Context, options) error {
	return func(ctx context.Context, o options) (err error) {
		dir, err := os.MkdirTemp("", "oei-ms-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
			return err
		}
		s, err := startService(ctx, dir, "ADMIN_PASSWORD="+benchPassword,
			"OEI_PUSH_MAX_CONNECTIONS_PER_USER=20000",
			"OEI_PUSH_MAX_CONNECTIONS_PER_ADDRESS=20000")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		token, err := s.login()
		if err != nil {
			return err
		}
		return run(ctx, s, token, o)
	}
}

func (s *service) login() (string, error) {
	body, _ := json.Marshal(map[string]string{"username": "admin", "password": benchPassword})
	res, err := http.Post("http://"+s.api+"/api/auth/login", "application/json",
		bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	return answer.Token, errors.Join(json.NewDecoder(res.Body).Decode(&answer),
		check(res.StatusCode == http.StatusOK, res.Status))
}

func check(ok bool, what string) error {
	if ok {
		return nil
	}
	return errors.New(what)
}

func (s *service) live(ctx context.Context, token string) (*websocket.Conn, *http.Response, error) {
	return websocket.DefaultDialer.DialContext(ctx, "ws://"+s.api+"/ws",
		http.Header{"Authorization": {"Bearer " + token}})
}

// spread subscribes each of 1,000 sockets to 50 of 2,000 sensors: 50,000 frames per second.
func spread(ctx context.Context, s *service, token string, o options) error {
	return frames(ctx, s, token, o, audience{
		title:   "1,000 sockets, each with its 50 of 2,000 sensors",
		sensors: 50,
		topics:  func(socket, j int) int { return (socket*50 + j*41) % 2000 },
	})
}

// dashboards subscribes 1,000 sockets to the same 50 sensors, in batches: 2,000,000 readings per
// second reach them.
func dashboards(ctx context.Context, s *service, token string, o options) error {
	return frames(ctx, s, token, o, audience{
		title:   "1,000 sockets, all with the same 50 sensors",
		sensors: 2,
		batch:   true,
		topics:  func(_, j int) int { return j },
	})
}

// audience is 1,000 sockets that are subscribed to 50 sensors each.
type audience struct {
	title   string
	sensors int                     // of a gateway
	topics  func(socket, j int) int // the number of the j-th sensor of a socket, from 0
	batch   bool
}

// frames publishes 2,000 readings per second by MQTT, one per message, and measures the time from
// each PUBACK to the frame that begins with the reading.
func frames(ctx context.Context, s *service, token string, o options, to audience) error {
	const sockets, each, rate = 1000, 50, 2000
	gateways := 40
	if to.batch {
		gateways = each / to.sensors
	}
	db, err := sql.Open("postgres", postgres.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	o.gateways, o.points = gateways, to.sensors
	keys, err := register(ctx, db, o)
	if err != nil {
		return err
	}
	count := int64(o.duration.Seconds()*rate) + rate
	acked := make([]atomic.Int64, count) // when, by value
	type arrival struct {
		value int64
		at    time.Time
	}
	arrivals, items := make([][]arrival, sockets), make([]int64, sockets)
	var readers sync.WaitGroup
	var conns []*websocket.Conn
	hangUp := func() {
		for _, ws := range conns {
			ws.Close()
		}
		readers.Wait()
	}
	defer hangUp()
	for i := range sockets {
		ws, _, err := s.live(ctx, token)
		if err != nil {
			return err
		}
		conns = append(conns, ws)
		topics := make([]string, each)
		for j := range topics {
			topics[j] = "sensors/" + strconv.Itoa(to.topics(i, j)+1)
		}
		if err := ws.WriteJSON(map[string]any{
			"type": "subscribe", "topics": topics, "batch": to.batch,
		}); err != nil {
			return err
		}
		readers.Go(func() {
			var frame bytes.Buffer
			for {
				_, r, err := ws.NextReader()
				if err != nil {
					return
				}
				frame.Reset()
				if _, err := frame.ReadFrom(r); err != nil {
					return
				}
				if v, ok := valueOf(frame.Bytes()); ok {
					arrivals[i] = append(arrivals[i], arrival{v, time.Now()})
					items[i] += int64(bytes.Count(frame.Bytes(), []byte(`"value"`)))
				}
			}
		})
	}
	time.Sleep(time.Second)
	var next atomic.Int64
	var publishers sync.WaitGroup
	begin := time.Now()
	for i, key := range keys {
		conn, err := net.Dial("tcp", s.mqtt)
		if err != nil {
			return err
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
			return err
		}
		publishers.Go(func() {
			var under sync.WaitGroup
			defer func() { under.Wait(); _ = c.Disconnect(&paho.Disconnect{}) }()
			for n := 0; time.Since(begin) < o.duration; n++ {
				time.Sleep(time.Until(begin.Add(time.Duration(n*gateways+i) * time.Second / rate)))
				v := next.Add(1) - 1
				topic := fmt.Sprintf("sensors/%s/s%d/data", key, n%to.sensors+1)
				under.Go(func() {
					if _, err := c.Publish(ctx,
						&paho.Publish{
							Topic:   topic,
							QoS:     1,
							Payload: fmt.Appendf(nil, `{"value":%d}`, v),
						}); err == nil {
						acked[v].Store(time.Now().UnixNano())
					}
				})
			}
		})
	}
	publishers.Wait()
	took := time.Since(begin)
	time.Sleep(time.Second)
	hangUp()
	delay, received := new(histogram), int64(0)
	frames := 0
	for i, as := range arrivals {
		received += items[i]
		frames += len(as)
		for _, a := range as {
			if at := acked[a.value].Load(); at > 0 {
				delay.add(max(0, time.Duration(a.at.UnixNano()-at)))
			}
		}
	}
	sent := next.Load()
	hs := []*histogram{delay}
	fmt.Printf("%-52s\n%-52s %12.0f\n%-52s %12.0f (%.1f %% of what was due)\n%-52s %12.0f\n%-52s "+
		"%12v\n%-52s %12v\n\n",
		to.title, "readings/s published by MQTT", float64(sent)/took.Seconds(),
		"readings/s that reach the sockets", float64(received)/took.Seconds(),
		100*float64(received)/float64(sent*sockets*each/int64(gateways*to.sensors)), "frames/s",
		float64(frames)/took.Seconds(),
		"PUBACK to frame, p50", quantile(hs, 0.5).Round(10*time.Microsecond),
		"PUBACK to frame, p99", quantile(hs, 0.99).Round(10*time.Microsecond))
	return nil
}
