package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/push"
)

// livePush measures how committed readings reach sockets: the hub and the bare WebSocket library in
// this process, then the whole program, restarted for each scenario.
func livePush(ctx context.Context, o options) error {
	for _, part := range []struct {
		name string
		run  func(context.Context, options) error
	}{
		{"fanout", fanOut},
		{"slow", slowReaders},
		{"frames", withService(spread)},
		{"dashboards", withService(dashboards)},
		{"memory", withService(memory)},
		{"storm", withService(storm)},
	} {
		if o.only == "" || o.only == part.name {
			if err := part.run(ctx, o); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

// hubServer is a hub with an HTTP server.
type hubServer struct {
	hub  *push.Hub
	url  string
	stop func()
}

func startHub(queue int) *hubServer {
	cfg := push.DefaultConfig()
	cfg.MaxConnectionsPerUser, cfg.MaxConnectionsPerAddress = 20_000, 20_000
	cfg.HandshakeBurst, cfg.QueueSize = 20_000, queue
	identity := push.Identity{UserID: 1, SessionID: "s", Expires: time.Now().Add(time.Hour)}
	hub := push.New(cfg, push.Deps{Auth: push.Auth{
		Authenticate: func(context.Context, string, string) (push.Identity, error) {
			return identity, nil
		},
		Allow: func(context.Context, push.Identity, []string) []error { return nil },
		Check: func(context.Context, push.Identity) error { return nil },
	}}, slog.New(slog.DiscardHandler), nil)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() { defer close(ran); _ = hub.Run(ctx) }()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = hub.Serve(w, r, &identity, r.URL.Query()["topic"])
	}))
	return &hubServer{
		hub, "ws" + strings.TrimPrefix(srv.URL, "http"), func() { cancel(); <-ran; srv.Close() },
	}
}

// fanOut delivers the readings of one sensor to 1,000 sockets by the hub and by two peers on the
// same library: a loop that writes to the sockets in turn, and one with a channel and a goroutine
// per socket. At full speed readings may be batched; frame by frame the next reading is published
// when every socket has the one before.
func fanOut(ctx context.Context, o options) error {
	const sockets = 1000
	kinds := []string{"bare", "writers", "hub"}
	names := map[string]string{
		"bare": "a bare PreparedMessage loop", "writers": "a channel and a writer for each",
		"hub": "the hub",
	}
	for _, way := range []struct {
		title string
		ahead int // readings that may be on their way
	}{
		{"1,000 sockets, one sensor, frame by frame", 0},
		{"1,000 sockets, one sensor, flat out", 2000},
	} {
		rates := map[string][]float64{}
		for range 3 { // in turns, because the machine varies
			for _, kind := range kinds {
				rate, err := deliver(kind, sockets, way.ahead, o.duration/2)
				if err != nil || ctx.Err() != nil {
					return errors.Join(err, ctx.Err())
				}
				rates[kind] = append(rates[kind], rate)
			}
		}
		fmt.Printf("%-44s %12s %12s\n", way.title, "frames/s", "of the bare")
		for _, kind := range kinds {
			fmt.Printf("%-44s %12.0f %12.2f\n", names[kind], median(rates[kind]),
				median(rates[kind])/median(rates["bare"]))
		}
		fmt.Println()
	}
	return nil
}

// median returns the median of v.
func median[T cmp.Ordered](v []T) T {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// peer is a minimal program on the WebSocket library.
type peer struct {
	conns []*websocket.Conn
	lanes []chan *websocket.PreparedMessage // one for each of conns, or none
}

func (p *peer) take(ws *websocket.Conn, writer bool) {
	p.conns = append(p.conns, ws)
	if !writer {
		return
	}
	lane := make(chan *websocket.PreparedMessage, 64)
	p.lanes = append(p.lanes, lane)
	go func() {
		for frame := range lane {
			if ws.WritePreparedMessage(frame) != nil {
				return
			}
		}
	}()
}

func (p *peer) send(n int) error {
	frame, err := websocket.NewPreparedMessage(websocket.TextMessage, fmt.Appendf(nil,
		`{"type":"sensor_data","sensor_id":1,"data":`+
			`{"value":%d,"timestamp":"2026-01-02T03:04:05.678000Z","quality":"good"}}`, n))
	for _, lane := range p.lanes {
		lane <- frame
	}
	for i := 0; err == nil && len(p.lanes) == 0 && i < len(p.conns); i++ {
		err = p.conns[i].WritePreparedMessage(frame)
	}
	return err
}

func (p *peer) stop() {
	for _, lane := range p.lanes {
		close(lane)
	}
}

// deliver returns the rate of frames per second, with at most ahead readings before the slowest
// socket.
func deliver(kind string, sockets, ahead int, d time.Duration) (rate float64, err error) {
	var items atomic.Int64
	var send func(n int) error
	url, stop := "", func() {}
	p := new(peer)
	served := make(chan *websocket.Conn, sockets)
	if kind == "hub" {
		h := startHub(1 << 16)
		url, stop = h.url+"/?topic=sensors/1", h.stop
		send = func(n int) error {
			h.hub.Publish([]push.Reading{
				{
					SensorID:  1,
					GatewayID: 1,
					Timestamp: time.Now(),
					Value:     float64(n),
					Quality:   "good",
				},
			})
			return nil
		}
	} else {
		upgrader := websocket.Upgrader{}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ws, err := upgrader.Upgrade(w, r, nil); err == nil {
				served <- ws
			}
		}))
		url, stop, send = "ws"+strings.TrimPrefix(srv.URL,
			"http"), func() { p.stop(); srv.Close() }, p.send
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
			p.take(<-served, kind == "writers")
		}
		go countReadings(ws, &items)
	}
	begin := time.Now()
	sent := 0
	for ; time.Since(begin) < d; sent++ {
		if err := send(sent); err != nil {
			return 0, err
		}
		for int64((sent+1)*sockets)-items.Load() > int64(sockets*ahead) {
			time.Sleep(20 * time.Microsecond)
		}
	}
	for deadline := time.Now().Add(time.Minute); items.Load() < int64(sent*sockets); time.Sleep(
		20 * time.Microsecond,
	) {
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("%s: %d readings arrived, want %d", kind, items.Load(),
				sent*sockets)
		}
	}
	return float64(items.Load()) / time.Since(begin).Seconds(), nil
}

// countReadings counts readings in the raw bytes, at low cost.
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

// slowReaders compares the delay of 160 sockets when 40 others read and when they never do, in
// turns.
func slowReaders(ctx context.Context, o options) error {
	fmt.Printf("%-44s %12s %12s\n", "160 sockets with 40 others, 100 readings/s each", "p50", "p99")
	var p50, p99 [2][]time.Duration
	for range 7 {
		for i, reads := range []bool{true, false} {
			hs, err := delaysWithOthers(reads, o.duration/2)
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			p50[i], p99[i] = append(p50[i], quantile(hs, 0.5)), append(p99[i], quantile(hs, 0.99))
		}
	}
	for i, title := range []string{"all read, middle of 7", "the 40 never read, middle of 7"} {
		fmt.Printf("%-44s %12v %12v\n", title, median(p50[i]).Round(time.Microsecond),
			median(p99[i]).Round(time.Microsecond))
	}
	fmt.Printf("%-44s %12s %12.2f\n\n", "ratio", "",
		float64(median(p99[1]))/float64(median(p99[0])))
	return nil
}

// delaysWithOthers returns the delays of the 160 sockets.
func delaysWithOthers(reads bool, d time.Duration) ([]*histogram, error) {
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
		rs[0] = push.Reading{
			SensorID:  n%50 + 1,
			GatewayID: 1,
			Timestamp: time.Now(),
			Value:     float64(time.Now().UnixNano() % 1e15),
			Quality:   "good",
		}
		h.hub.Publish(rs)
	}
	time.Sleep(100 * time.Millisecond)
	h.stop()
	h.stop = func() {}
	readers.Wait()
	return hs, nil
}

// delays reads until the connection ends; the value of a reading is its time of publishing.
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

// valueOf returns the value of the first reading of a frame.
func valueOf(frame []byte) (int64, bool) {
	_, rest, ok := bytes.Cut(frame, []byte(`"value":`))
	number, _, _ := bytes.Cut(rest, []byte(","))
	v, err := strconv.ParseFloat(string(number), 64)
	return int64(v), ok && err == nil
}
