package push

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// BenchmarkPublish delivers every reading to each of N clients on this machine. The bare loop is
// what the library can do from one goroutine: a PreparedMessage written to one connection after the
// other.
func BenchmarkPublish(b *testing.B) {
	for _, clients := range []int{1, 100, 1000} {
		for _, at := range []int{1, 100} {
			b.Run(fmt.Sprintf("hub/%d clients/%d at once", clients, at),
				func(b *testing.B) { benchHub(b, clients, at, false) })
		}
		b.Run(fmt.Sprintf("batch/%d clients/100 at once", clients),
			func(b *testing.B) { benchHub(b, clients, 100, true) })
		b.Run(fmt.Sprintf("bare/%d clients", clients), func(b *testing.B) { benchBare(b, clients) })
	}
}

func benchHub(b *testing.B, clients, at int, batch bool) {
	cfg := DefaultConfig()
	cfg.MaxConnectionsPerUser = clients
	cfg.QueueSize = 1 << 16 // so that no update is lost
	w := overTCP(b, cfg)
	var items atomic.Int64
	for range clients {
		ws := dialBench(b, w.url, http.Header{"Authorization": {"Bearer ann"}})
		for _, frame := range []string{
			"", fmt.Sprintf(`{"type":"subscribe","topics":["gateways/1"],"batch":%t}`, batch),
		} {
			if frame != "" {
				_ = ws.WriteMessage(websocket.TextMessage, []byte(frame))
			}
			if _, _, err := ws.ReadMessage(); err != nil {
				b.Fatal(err)
			}
		}
		go count(ws, &items)
	}
	rs := make([]Reading, at)
	for i := range rs {
		rs[i] = reading(int64(i+1), 1, 21.5)
	}
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += at {
		w.hub.Publish(rs[:min(at, b.N-sent)])
		for int64(sent*clients)-items.Load() > int64(clients)*2000 {
			time.Sleep(50 * time.Microsecond) // as fast as the clients can read
		}
	}
	finish(b, &items, clients)
}

func benchBare(b *testing.B, clients int) {
	upgrader := websocket.Upgrader{}
	conns := make(chan *websocket.Conn, clients)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ws, err := upgrader.Upgrade(w, r, nil); err == nil {
			conns <- ws
		}
	}))
	defer srv.Close()
	var items atomic.Int64
	var all []*websocket.Conn
	for range clients {
		go count(dialBench(b, "ws"+strings.TrimPrefix(srv.URL, "http"), nil), &items)
		all = append(all, <-conns)
	}
	b.ResetTimer()
	for range b.N {
		frame, err := websocket.NewPreparedMessage(websocket.TextMessage,
			appendReading(nil, reading(1, 1, 21.5)))
		if err != nil {
			b.Fatal(err)
		}
		for _, ws := range all {
			if err := ws.WritePreparedMessage(frame); err != nil {
				b.Fatal(err)
			}
		}
	}
	finish(b, &items, clients)
	for _, ws := range all {
		ws.Close()
	}
}

func finish(b *testing.B, items *atomic.Int64, clients int) {
	for deadline := time.Now().Add(time.Minute); items.Load() < int64(b.N*clients); time.Sleep(
		50 * time.Microsecond,
	) {
		if time.Now().After(deadline) {
			b.Fatalf("%d readings arrived, want %d", items.Load(), b.N*clients)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(items.Load())/b.Elapsed().Seconds(), "readings/s")
}

// count counts readings in the raw bytes, so that the client costs little.
func count(ws *websocket.Conn, items *atomic.Int64) {
	buf := make([]byte, 64<<10)
	const mark = `"quality"`
	kept := 0
	for {
		n, err := ws.NetConn().Read(buf[kept:])
		if err != nil {
			return
		}
		seen := buf[:kept+n]
		items.Add(int64(bytes.Count(seen, []byte(mark))))
		kept = 0
		if i := bytes.LastIndexByte(seen, '"'); i >= 0 && len(seen)-i < len(mark) {
			kept = copy(buf, seen[i:]) // perhaps the beginning of a mark
		}
	}
}

func dialBench(b *testing.B, url string, header http.Header) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(url, header)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ws.Close() })
	return ws
}
