package main

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

const manySockets = 5000

// connectAll connects manySockets at once, each retrying after a random pause, and returns them
// with the time it took.
func connectAll(ctx context.Context, s *service, token, title string) ([]*websocket.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	begin := time.Now()
	var refused atomic.Int64
	back := make(chan *websocket.Conn, manySockets)
	var dialing sync.WaitGroup
	for range manySockets {
		dialing.Go(func() {
			wait := 250 * time.Millisecond
			for ; ctx.Err() == nil; wait = min(2*wait, 4*time.Second) {
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
	calls := new(histogram)
	done := make(chan struct{})
	go func() { dialing.Wait(); close(done) }()
	for waiting := true; waiting; {
		asked := time.Now()
		if res, err := http.Get("http://" + s.api + "/health/live"); err == nil {
			res.Body.Close()
			calls.add(time.Since(asked))
		}
		select {
		case <-done:
			waiting = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	took := time.Since(begin)
	close(back)
	var conns []*websocket.Conn
	for ws := range back {
		conns = append(conns, ws)
		if err := ws.WriteJSON(map[string]any{
			"type": "subscribe", "topics": []string{"sensors?type=temperature", "alarms"},
		}); err != nil {
			return nil, err
		}
		go func() { // answers pings
			for {
				if _, _, err := ws.NextReader(); err != nil {
					return
				}
			}
		}()
	}
	fmt.Printf("%-44s %12v, %d of them; %d attempts failed; API calls meanwhile p99 %v, the "+
		"slowest %v\n", title, took.Round(10*time.Millisecond),
		len(conns), refused.Load(), quantile([]*histogram{calls}, 0.99).Round(time.Millisecond),
		quantile([]*histogram{calls}, 1-1e-9).Round(time.Millisecond))
	return conns, nil
}

// storm connects 5,000 sockets, breaks them all, and reconnects them at once.
func storm(ctx context.Context, s *service, token string, _ options) error {
	for _, title := range []string{"5,000 sockets connect", "all break, and come back at once"} {
		conns, err := connectAll(ctx, s, token, title)
		if err != nil {
			return err
		}
		for _, ws := range conns {
			ws.NetConn().Close()
		}
	}
	fmt.Println()
	return nil
}

// memory measures the memory of an idle socket, and after a burst of readings to each.
func memory(ctx context.Context, s *service, token string, o options) error {
	before := s.resident()
	conns, err := connectAll(ctx, s, token, "5,000 sockets connect")
	if err != nil {
		return err
	}
	defer func() {
		for _, ws := range conns {
			ws.Close()
		}
	}()
	tell := func(title string) {
		for range 100 { // a server at work makes garbage, and so collects that of the handshakes
			if res, err := http.Get("http://" + s.api + "/metrics"); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			time.Sleep(100 * time.Millisecond)
		}
		fmt.Printf("%-44s %12.1f KiB\n", title,
			float64(s.resident()-before)/1024/float64(len(conns)))
	}
	tell("resident memory of each, after 10 s")
	if err := s.burst(ctx, token, o); err != nil {
		return err
	}
	tell("10 s after 100 readings to each")
	fmt.Println()
	return nil
}

// burst stores 100 readings of 10 sensors.
func (s *service) burst(ctx context.Context, token string, o options) error {
	db, err := sql.Open("postgres", postgres.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	o.gateways, o.points = 1, 10
	if _, err := register(ctx, db, o); err != nil {
		return err
	}
	for n := range 10 {
		body := []byte(`{"readings":[`)
		for sensor := range 10 {
			if sensor > 0 {
				body = append(body, ',')
			}
			body = fmt.Appendf(body, `{"sensor_id":%d,"value":%d}`, sensor+1, n)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.api+"/api/data",
			bytes.NewReader(append(body, "]}"...)))
		if err != nil {
			return err
		}
		req.Header = http.Header{
			"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if err := check(res.StatusCode == http.StatusOK, res.Status); err != nil {
			return err
		}
	}
	return nil
}

var residentLine = regexp.MustCompile(`VmRSS:\s+(\d+)`)

// resident returns the resident memory of the service; zero without /proc.
func (s *service) resident() int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if m := residentLine.FindSubmatch(status); m != nil {
		kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
		return kb << 10
	}
	return 0
}
