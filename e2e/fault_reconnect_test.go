package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/gorilla/websocket"
)

// fleet is many gateways and sockets that lose their connections at once. Each takes a file
// descriptor here and one in the program.
type fleet struct {
	p                 *process
	gateways, sockets int
	token             string
	later             atomic.Int64 // live clients that were told to come later

	mu    sync.Mutex
	conns []net.Conn
}

// registerGateways registers the gateways, all with one secret.
func (c *fleet) registerGateways(t *testing.T) {
	t.Helper()
	db := database(t, c.p.dsn())
	defer db.Close()
	for _, q := range []string{
		`INSERT INTO gateways (key, name) SELECT 'fleet-' || i, 'Gateway ' || i
			FROM generate_series(1, $1::int) i`,
		`INSERT INTO gateway_credentials (gateway_id, hash) SELECT id, sha256('fleet'::bytea)
			FROM gateways WHERE key LIKE 'fleet-%' AND $1 > 0`,
	} {
		if _, err := db.Exec(q, c.gateways); err != nil {
			t.Fatal(err)
		}
	}
}

// connect connects all at once, each retrying after a random pause, until ctx ends; it returns how
// many are connected.
func (c *fleet) connect(ctx context.Context) (gateways, sockets int64) {
	var in [2]atomic.Int64
	var running sync.WaitGroup
	enter := func(kind int, connect func() (net.Conn, error)) {
		running.Go(func() {
			wait := 250 * time.Millisecond
			for ; ctx.Err() == nil; wait = min(2*wait, 4*time.Second) {
				if conn, err := connect(); err == nil {
					in[kind].Add(1)
					c.mu.Lock()
					c.conns = append(c.conns, conn)
					c.mu.Unlock()
					return
				}
				select {
				case <-time.After(wait/2 + time.Duration(time.Now().UnixNano())%wait):
				case <-ctx.Done():
				}
			}
		})
	}
	for i := range c.gateways {
		enter(0, func() (net.Conn, error) { return c.gateway(ctx, i+1) })
	}
	for range c.sockets {
		enter(1, func() (net.Conn, error) { return c.socket(ctx) })
	}
	running.Wait()
	return in[0].Load(), in[1].Load()
}

func (c *fleet) gateway(ctx context.Context, n int) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.p.mqtt)
	if err != nil {
		return nil, err
	}
	connect := packets.NewControlPacket(packets.CONNECT)
	connect.Content = &packets.Connect{
		ProtocolName:    "MQTT",
		ProtocolVersion: 5,
		CleanStart:      true,
		ClientID:        fmt.Sprintf("fleet-%d", n),
		Properties:      new(packets.Properties),
		UsernameFlag:    true,
		Username:        fmt.Sprintf("fleet-%d", n),
		PasswordFlag:    true,
		Password:        []byte("fleet"),
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err = connect.WriteTo(conn); err == nil {
		var answer *packets.ControlPacket
		if answer, err = packets.ReadPacket(conn); err == nil {
			if ack, ok := answer.Content.(*packets.Connack); !ok || ack.ReasonCode != 0 {
				err = errors.New("refused")
			}
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, conn.SetDeadline(time.Time{})
}

func (c *fleet) socket(ctx context.Context) (net.Conn, error) {
	ws, res, err := websocket.DefaultDialer.DialContext(ctx, "ws://"+c.p.api+"/ws",
		http.Header{"Authorization": {"Bearer " + c.token}})
	if err != nil {
		if res != nil && res.StatusCode == http.StatusTooManyRequests {
			c.later.Add(1)
		}
		return nil, err
	}
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, frame, err := ws.ReadMessage(); err != nil ||
		!strings.Contains(string(frame), "authenticated") {
		ws.Close()
		return nil, fmt.Errorf("got %s, %w", frame, err)
	}
	_ = ws.SetReadDeadline(time.Time{})
	go func() { // answers pings
		for {
			if _, _, err := ws.NextReader(); err != nil {
				return
			}
		}
	}()
	return ws.NetConn(), nil
}

// cut breaks all connections without DISCONNECT.
func (c *fleet) cut() {
	for _, conn := range c.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	c.conns = nil
}

// TestFaultMassReconnect_IsBoundedAndComplete breaks all connections and has all clients reconnect
// in the same second, to a server with a limit of handshakes per second.
func TestFaultMassReconnect_IsBoundedAndComplete(t *testing.T) {
	p := serve(t, dataDir(t), "OEI_PUSH_MAX_CONNECTIONS_PER_USER=10000",
		"OEI_PUSH_MAX_CONNECTIONS_PER_ADDRESS=10000",
		"OEI_BROKER_MAX_CONNECTIONS=12000", "OEI_BROKER_MAX_CONNECTIONS_PER_ADDRESS=12000",
		"OEI_PUSH_HANDSHAKES_PER_SECOND=500", "OEI_PUSH_HANDSHAKE_BURST=100")
	c := &fleet{
		p:        p,
		gateways: clients(t, 500, 10_000),
		sockets:  clients(t, 500, 5000),
		token:    p.token(),
	}
	c.registerGateways(t)
	defer c.cut()
	for _, when := range []string{"at first", "after all connections broke"} {
		c.cut()
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		var took []time.Duration
		unready := 0
		watch := repeat(func() {
			begin := time.Now()
			if status := p.status("/health/live"); status != http.StatusOK {
				t.Errorf("%s: the API answers %d after %v", when, status, time.Since(begin))
			}
			took = append(took, time.Since(begin))
			if p.status("/health/ready") != http.StatusOK {
				unready++ // it has more to do than it can at once
			}
		})
		begin := time.Now()
		gateways, sockets := c.connect(ctx)
		t.Logf("%s: %d gateways and %d sockets in %v; %d times a socket was told to come later",
			when, gateways, sockets, time.Since(begin).Round(time.Millisecond), c.later.Load())
		stop()
		watch()
		if gateways != int64(c.gateways) || sockets != int64(c.sockets) {
			t.Errorf("%s: %d of %d gateways and %d of %d sockets are back within a minute", when,
				gateways, c.gateways, sockets, c.sockets)
		}
		if n, m := p.metric("oei_mqtt_connections"), p.metric("websocket_connections_active"); int(
			n,
		) != c.gateways || int(m) != c.sockets {
			t.Errorf("%s: the server counts %v gateways and %v sockets", when, n, m)
		}
		slices.Sort(took)
		p99 := took[len(took)*99/100]
		t.Logf("%s: of %d calls of the API the 99th percentile took %v; %d times it was not ready",
			when, len(took), p99.Round(time.Millisecond), unready)
		if p99 > 2*time.Second {
			t.Errorf("%s: the API took %v, want 2 s", when, p99)
		}
	}
	if c.later.Load() == 0 {
		t.Error("no client was told to retry later, want handshakes to be bounded")
	}
	l := newLedger(p.registerAll(1)) // the listeners live
	done := l.run(t, p.mqtt, steady)
	l.awaitAcks(p, 100, 20*time.Second)
	done()
	l.check(t, p.dsn())
}
