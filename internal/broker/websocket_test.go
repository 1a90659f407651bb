package broker

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/ingest"
)

// dialWS connects by WebSocket.
func (b *testBroker) dialWS(
	d websocket.Dialer, scheme string, header http.Header,
) (*client, *http.Response, error) {
	ws, r, err := d.Dial(scheme+"://"+b.ws+"/mqtt", header)
	if err != nil {
		return nil, r, err
	}
	return b.over(&websocketConn{Conn: ws.NetConn(), ws: ws}), r, nil
}

func TestWebSocket_Connections(t *testing.T) {
	b := newTestBroker(t,
		func(c *Config) {
			c.WebSocketPort, c.AllowedOrigins = AnyPort, []string{
				"https://hmi.example",
			}
		})
	mqtt := websocket.Dialer{Subprotocols: []string{"mqtt"}}
	t.Run("messages and acknowledgements", func(t *testing.T) {
		c, _, err := b.dialWS(mqtt, "ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.login("g1"); got != "CONNACK 0x00" {
			t.Fatal(got)
		}
		for i := range 50 {
			c.publish(1, uint16(i+1), topic, strings.Repeat("x", 1+i*1000))
			m := b.next(1)[0]
			if len(m.Payload) != 1+i*1000 {
				t.Errorf("submitted: %d bytes", len(m.Payload))
			}
			m.Done(ingest.Receipt{})
			if got := c.read(); !strings.HasPrefix(got, "PUBACK") {
				t.Fatal(got)
			}
		}
		c.pings()
		c.leave()
	})
	t.Run("a packet in many messages, and many in one", func(t *testing.T) {
		c, _, err := b.dialWS(mqtt, "ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		connect := old{}.connect("g1", "secret")
		for _, octet := range connect {
			c.write(octet)
		}
		old{c}.gets(0x20, 2, 0, 0)
		c.write(0xc0, 0, 0xc0, 0, 0xc0, 0)
		old{c}.gets(0xd0, 0, 0xd0, 0, 0xd0, 0)
	})
	t.Run("text is not MQTT", func(t *testing.T) {
		c, _, err := b.dialWS(mqtt, "ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.conn.(*websocketConn).ws.WriteMessage(websocket.TextMessage,
			old{}.connect("g1", "secret"))
		if got := c.read(); got != "closed" {
			t.Errorf("got %s", got)
		}
	})
	for name, tt := range map[string]struct {
		dialer websocket.Dialer
		origin string
		want   int
	}{
		"without an origin":    {mqtt, "", http.StatusSwitchingProtocols},
		"of an allowed origin": {mqtt, "https://hmi.example", http.StatusSwitchingProtocols},
		"with the default port": {
			mqtt, "https://HMI.example:443",
			http.StatusSwitchingProtocols,
		},
		"of its own origin":       {mqtt, "http://" + b.ws, http.StatusSwitchingProtocols},
		"of another origin":       {mqtt, "https://evil.example", http.StatusForbidden},
		"of a file":               {mqtt, "null", http.StatusForbidden},
		"without the subprotocol": {websocket.Dialer{}, "", http.StatusBadRequest},
		"with another subprotocol": {
			websocket.Dialer{Subprotocols: []string{"mqttv3.1"}}, "", http.StatusBadRequest,
		},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if tt.origin != "" {
				header.Set("Origin", tt.origin)
			}
			_, r, err := b.dialWS(tt.dialer, "ws", header)
			if r == nil || r.StatusCode != tt.want {
				t.Errorf("got %v, %v, want %d", r, err, tt.want)
			}
		})
	}
	t.Run("a request that is not an upgrade", func(t *testing.T) {
		r, err := http.Get("http://" + b.ws)
		if err != nil || r.StatusCode != http.StatusBadRequest {
			t.Fatalf("got %v, %v", r, err)
		}
		_ = r.Body.Close()
		http.DefaultClient.CloseIdleConnections()
		conn, err := net.Dial("tcp", b.ws)
		if err != nil {
			t.Fatal(err)
		}
		go func() { // a head without end
			for {
				if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1000) +
					"\r\n")); err != nil {
					return
				}
			}
		}()
		b.over(conn).ends(limit)
	})
}

func TestWebSocket_WithTLS(t *testing.T) {
	a := newAuthority(t)
	b := newTestBroker(t, func(c *Config) { c.WebSocketPort = AnyPort; a.files(c) })
	c, _, err := b.dialWS(websocket.Dialer{
		Subprotocols:    []string{"mqtt"},
		TLSClientConfig: a.trusting("g2", a),
	}, "wss", nil)
	if err != nil {
		t.Fatal(err)
	}
	withoutPassword := func(c *packets.Connect) { c.PasswordFlag, c.Password = false, nil }
	if got := c.login("g2", withoutPassword); got != "CONNACK 0x00" {
		t.Error(got)
	}
	c.pings()
	if _, _, err := b.dialWS(websocket.Dialer{Subprotocols: []string{"mqtt"}}, "ws",
		nil); err == nil {
		t.Error("it accepts a connection without TLS")
	}
}
