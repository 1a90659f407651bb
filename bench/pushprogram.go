package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/embedded"
)

const benchPassword = "a password of the benchmark"

// program measures the whole program: from PUBACK to frame, memory per connection, and everybody coming back at once.
func program(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	s, err := startService(ctx, dir, "ADMIN_PASSWORD="+benchPassword, "OEI_PUSH_MAX_CONNECTIONS_PER_USER=20000",
		"OEI_PUSH_MAX_CONNECTIONS_PER_ADDRESS=20000")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	token, err := s.login()
	if err != nil {
		return err
	}
	if o.only == "" || o.only == "frames" {
		if err := frames(ctx, s, token, o); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "memory" || o.only == "storm" {
		return storm(ctx, s, token)
	}
	return nil
}

func (s *service) login() (string, error) {
	body, _ := json.Marshal(map[string]string{"username": "admin", "password": benchPassword})
	res, err := http.Post("http://"+s.api+"/api/auth/login", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	return answer.Token, errors.Join(json.NewDecoder(res.Body).Decode(&answer), check(res.StatusCode == http.StatusOK, res.Status))
}

func check(ok bool, what string) error {
	if ok {
		return nil
	}
	return errors.New(what)
}

func (s *service) live(ctx context.Context, token string) (*websocket.Conn, *http.Response, error) {
	return websocket.DefaultDialer.DialContext(ctx, "ws://"+s.api+"/ws", http.Header{"Authorization": {"Bearer " + token}})
}

// frames publishes 2,000 readings a second, one in a message, to 2,000 sensors, with 1,000 sockets that listen to 50 of them each.
func frames(ctx context.Context, s *service, token string, o options) error {
	const sockets, each, gateways, sensors, rate = 1000, 50, 40, 50, 2000
	db, err := sql.Open("postgres", embedded.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	o.gateways, o.points = gateways, sensors
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
	arrivals := make([][]arrival, sockets)
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
			topics[j] = "sensors/" + strconv.Itoa((i*each+j*41)%(gateways*sensors)+1)
		}
		if err := ws.WriteJSON(map[string]any{"type": "subscribe", "topics": topics}); err != nil {
			return err
		}
		readers.Go(func() {
			for {
				_, frame, err := ws.ReadMessage()
				if err != nil {
					return
				}
				if v, ok := valueOf(frame); ok {
					arrivals[i] = append(arrivals[i], arrival{v, time.Now()})
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
			ClientID: key, CleanStart: true, KeepAlive: 60, Username: key, UsernameFlag: true, Password: []byte(secret), PasswordFlag: true,
		}); err != nil {
			return err
		}
		publishers.Go(func() {
			var under sync.WaitGroup
			defer func() { under.Wait(); _ = c.Disconnect(&paho.Disconnect{}) }()
			for n := 0; time.Since(begin) < o.duration; n++ {
				time.Sleep(time.Until(begin.Add(time.Duration(n*gateways+i) * time.Second / rate)))
				v := next.Add(1) - 1
				topic := fmt.Sprintf("sensors/%s/s%d/data", key, n%sensors+1)
				under.Go(func() {
					if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: fmt.Appendf(nil, `{"value":%d}`, v)}); err == nil {
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
	delay, n := new(histogram), 0
	for _, as := range arrivals {
		for _, a := range as {
			if at := acked[a.value].Load(); at > 0 {
				delay.add(max(0, time.Duration(a.at.UnixNano()-at)))
				n++
			}
		}
	}
	sent := next.Load()
	hs := []*histogram{delay}
	fmt.Printf("%-44s\n%-44s %12.0f\n%-44s %12.0f (%.1f %% of what was due)\n%-44s %12v\n%-44s %12v\n\n",
		"1,000 sockets of 50 sensors each, by MQTT", "readings/s", float64(sent)/took.Seconds(), "frames/s", float64(n)/took.Seconds(),
		100*float64(n)/float64(sent*sockets*each/(gateways*sensors)), "PUBACK to frame, p50", quantile(hs, 0.5).Round(10*time.Microsecond),
		"PUBACK to frame, p99", quantile(hs, 0.99).Round(10*time.Microsecond))
	return nil
}

// storm connects 5,000 sockets, looks at the memory, breaks them all and has them come back at once.
func storm(ctx context.Context, s *service, token string) error {
	const sockets = 5000
	_ = s.usage()
	before := s.resident()
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	var conns []*websocket.Conn
	for _, title := range []string{"5,000 sockets connect", "and all come back at once"} {
		for _, ws := range conns {
			ws.NetConn().Close()
		}
		begin := time.Now()
		var refused atomic.Int64
		back := make(chan *websocket.Conn, sockets)
		var dialing sync.WaitGroup
		for range sockets {
			dialing.Go(func() {
				for wait := 250 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 4*time.Second) {
					if ws, _, err := s.live(ctx, token); err == nil {
						if _, _, err := ws.ReadMessage(); err == nil {
							back <- ws
							return
						}
						ws.Close()
					}
					refused.Add(1)
					time.Sleep(wait/2 + time.Duration(time.Now().UnixNano())%wait)
				}
			})
		}
		slowest := time.Duration(0)
		done := make(chan struct{})
		go func() { dialing.Wait(); close(done) }()
		for waiting := true; waiting; {
			asked := time.Now()
			if res, err := http.Get("http://" + s.api + "/health/live"); err == nil {
				res.Body.Close()
				slowest = max(slowest, time.Since(asked))
			}
			select {
			case <-done:
				waiting = false
			case <-time.After(50 * time.Millisecond):
			}
		}
		took := time.Since(begin)
		close(back)
		conns = conns[:0]
		for ws := range back {
			conns = append(conns, ws)
			if err := ws.WriteJSON(map[string]any{"type": "subscribe", "topics": []string{"sensors?type=temperature", "alarms"}}); err != nil {
				return err
			}
			go func() { // answers pings
				for {
					if _, _, err := ws.NextReader(); err != nil {
						return
					}
				}
			}()
		}
		fmt.Printf("%-44s %12v, %d of them; %d attempts failed, the slowest API call took %v\n", title, took.Round(10*time.Millisecond), len(conns),
			refused.Load(), slowest.Round(time.Millisecond))
		if title == "5,000 sockets connect" {
			for range 100 { // so that the handshakes' garbage is collected, as it is in a server at work
				if res, err := http.Get("http://" + s.api + "/metrics"); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				time.Sleep(100 * time.Millisecond)
			}
			fmt.Printf("%-44s %12.1f KiB\n", "resident memory of each", float64(s.resident()-before)/1024/float64(len(conns)))
		}
	}
	for _, ws := range conns {
		ws.Close()
	}
	return nil
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+)`)

// resident is the service's memory now; zero where there is no /proc.
func (s *service) resident() int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if m := residentLine.FindSubmatch(status); m != nil {
		kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return kb << 10
	}
	return 0
}
