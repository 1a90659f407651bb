package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/push"
)

// livePush measures how committed readings reach live connections: the hub beside what the WebSocket library can do, in this
// process, then the whole program.
func livePush(ctx context.Context, o options) error {
	for _, part := range []struct {
		name string
		run  func(context.Context, options) error
	}{{"fanout", fanOut}, {"slow", slowReaders}, {"program", program}} {
		if o.only == "" || o.only == part.name || part.name == "program" && (o.only == "frames" || o.only == "memory" || o.only == "storm") {
			if err := part.run(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

// hubServer is a hub behind an HTTP server.
type hubServer struct {
	hub  *push.Hub
	url  string
	stop func()
}

func startHub(queue int) *hubServer {
	cfg := push.DefaultConfig()
	cfg.MaxConnectionsPerUser, cfg.MaxConnectionsPerAddress, cfg.HandshakeBurst, cfg.QueueSize = 20_000, 20_000, 20_000, queue
	identity := push.Identity{UserID: 1, SessionID: "s", Expires: time.Now().Add(time.Hour)}
	hub := push.NewHub(cfg, push.Auth{
		Authenticate: func(context.Context, string) (push.Identity, error) { return identity, nil },
		Allow:        func(context.Context, push.Identity, []string) []error { return nil },
		Check:        func(context.Context, push.Identity) error { return nil },
	}, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { defer close(ran); _ = hub.Run(ctx) }()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { hub.Serve(w, r, &identity, r.URL.Query()["topic"]) }))
	return &hubServer{hub, "ws" + strings.TrimPrefix(srv.URL, "http"), func() { cancel(); <-ran; srv.Close() }}
}

// fanOut delivers as fast as it goes to 1,000 sockets that listen to one sensor: the hub, and a bare loop over the same library.
func fanOut(ctx context.Context, o options) error {
	const sockets = 1000
	fmt.Printf("%-44s %12s\n", "1,000 sockets, one sensor, flat out", "frames/s")
	rates := map[string][]float64{}
	for range 3 { // taking turns, since the machine is not the same all the time
		for _, kind := range []string{"bare", "hub"} {
			rate, err := flatOut(kind, sockets, o.duration/2)
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			rates[kind] = append(rates[kind], rate)
		}
	}
	bare, hub := middle(rates["bare"]), middle(rates["hub"])
	fmt.Printf("%-44s %12.0f\n%-44s %12.0f\n%-44s %12.2f\n\n", "a bare PreparedMessage loop", bare, "the hub", hub, "ratio", hub/bare)
	return nil
}

func middle(v []float64) float64 {
	return v[0] + v[1] + v[2] - min(v[0], v[1], v[2]) - max(v[0], v[1], v[2])
}

func flatOut(kind string, sockets int, d time.Duration) (rate float64, err error) {
	var items atomic.Int64
	var send func(n int) error
	url, stop := "", func() {}
	var conns []*websocket.Conn
	served := make(chan *websocket.Conn, sockets)
	if kind == "hub" {
		h := startHub(1 << 16)
		url, stop = h.url+"/?topic=sensors/1", h.stop
		send = func(n int) error {
			h.hub.Publish([]push.Reading{{SensorID: 1, GatewayID: 1, Timestamp: time.Now(), Value: float64(n), Quality: "good"}})
			return nil
		}
	} else {
		upgrader := websocket.Upgrader{}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ws, err := upgrader.Upgrade(w, r, nil); err == nil {
				served <- ws
			}
		}))
		url, stop = "ws"+strings.TrimPrefix(srv.URL, "http"), srv.Close
		send = func(n int) error {
			frame, err := websocket.NewPreparedMessage(websocket.TextMessage, fmt.Appendf(nil,
				`{"type":"sensor_data","sensor_id":1,"data":{"value":%d,"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"}}`, n))
			for i := 0; err == nil && i < len(conns); i++ {
				err = conns[i].WritePreparedMessage(frame)
			}
			return err
		}
	}
	defer func() { stop() }()
	for range sockets {
		ws, _, err := websocket.DefaultDialer.Dial(url, nil)
		if err != nil {
			return 0, err
		}
		defer ws.Close()
		if kind == "hub" {
			for range 2 { // authenticated, subscribed
				if _, _, err := ws.ReadMessage(); err != nil {
					return 0, err
				}
			}
		} else {
			conns = append(conns, <-served)
		}
		go countReadings(ws, &items)
	}
	begin := time.Now()
	sent := 0
	for ; time.Since(begin) < d; sent++ {
		if err := send(sent); err != nil {
			return 0, err
		}
		for int64((sent+1)*sockets)-items.Load() > int64(sockets)*2000 {
			time.Sleep(50 * time.Microsecond) // as fast as they can take it, and no faster
		}
	}
	for deadline := time.Now().Add(time.Minute); items.Load() < int64(sent*sockets); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s: %d readings came, want %d", kind, items.Load(), sent*sockets)
		}
	}
	return float64(items.Load()) / time.Since(begin).Seconds(), nil
}

// countReadings counts readings in the bare stream of bytes: a client that costs little.
func countReadings(ws *websocket.Conn, items *atomic.Int64) {
	const mark = `"quality"`
	buf, kept := make([]byte, 16<<10), 0
	for {
		n, err := ws.NetConn().Read(buf[kept:])
		if err != nil {
			return
		}
		seen := buf[:kept+n]
		items.Add(int64(bytes.Count(seen, []byte(mark))))
		kept = 0
		if i := bytes.LastIndexByte(seen, '"'); i >= 0 && len(seen)-i < len(mark) {
			kept = copy(buf, seen[i:]) // it may be the beginning of a mark
		}
	}
}

// slowReaders compares the delay of 160 sockets when 40 others read and when they never do.
func slowReaders(ctx context.Context, o options) error {
	fmt.Printf("%-44s %12s %12s\n", "160 sockets beside 40, 100 readings/s each", "p50", "p99")
	ratios, p99 := []float64{}, [2]time.Duration{}
	for range 3 {
		for i, reads := range []bool{true, false} {
			hs, err := besides(reads, o.duration/2)
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			p99[i] = quantile(hs, 0.99)
			fmt.Printf("%-44s %12v %12v\n", []string{"all read", "the 40 never read"}[i], quantile(hs, 0.5).Round(time.Microsecond), p99[i].Round(time.Microsecond))
		}
		ratios = append(ratios, float64(p99[1])/float64(p99[0]))
	}
	fmt.Printf("%-44s %12s %12.2f\n\n", "ratio", "", middle(ratios))
	return nil
}

func besides(reads bool, d time.Duration) ([]*histogram, error) {
	const all, slow = 200, 40
	h := startHub(push.DefaultConfig().QueueSize)
	defer h.stop()
	var hs []*histogram
	var readers sync.WaitGroup
	defer readers.Wait()
	for i := range all {
		ws, _, err := websocket.DefaultDialer.Dial(h.url+"/?topic=gateways/1", nil)
		if err != nil {
			return nil, err
		}
		defer ws.Close()
		switch {
		case i >= slow:
			hist := new(histogram)
			hs = append(hs, hist)
			readers.Go(func() { delays(ws, hist) })
		case reads:
			readers.Go(func() { delays(ws, new(histogram)) })
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	rs := make([]push.Reading, 1)
	for n, begin := int64(0), time.Now(); time.Since(begin) < d; n++ {
		<-tick.C
		rs[0] = push.Reading{SensorID: n%50 + 1, GatewayID: 1, Timestamp: time.Now(), Value: float64(time.Now().UnixNano() % 1e15), Quality: "good"}
		h.hub.Publish(rs)
	}
	time.Sleep(100 * time.Millisecond)
	h.stop()
	h.stop = func() {}
	readers.Wait()
	return hs, nil
}

// delays reads until the connection ends; a reading's value is when it was published.
func delays(ws *websocket.Conn, h *histogram) {
	for {
		_, frame, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if v, ok := valueOf(frame); ok {
			h.add(time.Duration((time.Now().UnixNano()%1e15 - v + 1e15) % 1e15))
		}
	}
}

// valueOf is the value of a sensor_data frame.
func valueOf(frame []byte) (int64, bool) {
	_, rest, ok := bytes.Cut(frame, []byte(`"value":`))
	number, _, _ := bytes.Cut(rest, []byte(","))
	v, err := strconv.ParseFloat(string(number), 64)
	return int64(v), ok && err == nil
}
