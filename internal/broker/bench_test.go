package broker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
)

// limit is how long a test waits for what must come.
const limit = 20 * time.Second

// bench is a running broker whose pipeline is the test.
type bench struct {
	*Broker
	t    testing.TB
	addr string
	out  syncbuf.Buffer // the log
	tls  string         // addresses too, when the settings ask for them
	ws   string
	reg  *prometheus.Registry
	got  chan ingest.Message // what was submitted, but for status reports
	stop func()              // stops the broker and waits for it

	mu       sync.Mutex
	submit   func(context.Context, ingest.Message) error // nil: everything is taken
	statuses []string                                    // gateway and status, in order
	links    []ingest.Link                               // of the statuses
	secrets  map[string]string                           // of the gateways, by key
	ids      map[string]int64                            // likewise
	logins   int                                         // how often a secret was checked
	revoked  map[int64]bool
	renamed  map[int64]string // keys of gateways that have changed, by credential
	down     bool             // the database is not there
	// wrong secrets by address and key; nil: they are not limited
	failures map[string]int
	// nil: no session outlasts the broker. MQTT sessions by client; those of connected ones last
	// for ever
	kept *map[string]time.Duration
	full chan struct{} // not nil: nothing is taken until it is closed
}

const forEver = time.Duration(1<<63 - 1)

// maxFailures is how many wrong secrets the bench allows when it limits them.
const maxFailures = 3

func (b *bench) beginLogin(_ context.Context, address, key string) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.failures == nil:
	case b.failures[address+" "+key] >= maxFailures:
		return 7 * time.Minute, nil
	default:
		b.failures[address+" "+key]++
	}
	return 0, nil
}

func (b *bench) endLogin(_ context.Context, address, key string, _ bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures != nil {
		b.failures[address+" "+key]--
	}
	return nil
}

func (b *bench) resume(_ context.Context, client string, _ Gateway, clean, keep bool) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil {
		return false, nil
	}
	_, present := (*b.kept)[client]
	if keep {
		(*b.kept)[client] = forEver
	} else {
		delete(*b.kept, client)
	}
	return present && !clean, nil
}

func (b *bench) suspend(_ context.Context, client string, while time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept == nil {
		return nil
	}
	if _, there := (*b.kept)[client]; there && while > 0 {
		(*b.kept)[client] = while
	} else {
		delete(*b.kept, client)
	}
	return nil
}

// newBench starts a broker with the gateways g1, g2 and g3, whose secrets are "secret".
func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t:       t,
		addr:    l.Addr().String(),
		reg:     prometheus.NewRegistry(),
		got:     make(chan ingest.Message, 100_000),
		revoked: map[int64]bool{},
		secrets: map[string]string{"g1": "secret", "g2": "secret", "g3": "secret"},
		ids:     map[string]int64{"g1": 1, "g2": 2, "g3": 3},
		kept:    &map[string]time.Duration{},
	}
	ls := Listeners{Plain: l}
	if cfg.TLSPort != 0 {
		ls.TLS, b.tls = b.listen()
	}
	if cfg.WebSocketPort != 0 {
		ls.WebSocket, b.ws = b.listen()
	}
	access := Access{
		Login:      b.login,
		Certified:  b.certified,
		InForce:    b.inForce,
		Resume:     b.resume,
		Suspend:    b.suspend,
		BeginLogin: b.beginLogin,
		EndLogin:   b.endLogin,
		HasGateway: b.hasGateway,
	}
	b.Broker, err = New(cfg, ls, access, b.take,
		slog.New(slog.NewTextHandler(&b.out, &slog.HandlerOptions{Level: slog.LevelInfo})), b.reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(limit):
			t.Error("the broker does not stop")
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *bench) listen() (net.Listener, string) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	return l, l.Addr().String()
}

// certified knows the gateways that have a secret; what stands for their credentials is 9000 and
// more.
func (b *bench) certified(_ context.Context, key string) (Gateway, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return Gateway{}, false, errors.New("the database is away")
	}
	_, known := b.secrets[key]
	credential := 9000 + int64(key[len(key)-1])
	return Gateway{b.ids[key], key, credential}, known && !b.revoked[credential], nil
}

func (b *bench) login(_ context.Context, key, secret string) (Gateway, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return Gateway{}, false, errors.New("the database is away")
	}
	b.logins++
	want, known := b.secrets[key]
	return Gateway{b.ids[key], key, int64(len(key)*1000) + int64(key[len(key)-1])}, known &&
		want == secret, nil
}

func (b *bench) hasGateway(_ context.Context, keys []string) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(keys, func(key string) bool { return b.secrets[key] != "" }), nil
}

func (b *bench) inForce(_ context.Context, gateways []Gateway) ([]bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.down {
		return nil, errors.New("the database is away")
	}
	valid := make([]bool, len(gateways))
	for i, g := range gateways {
		key := cmp.Or(b.renamed[g.Credential], "g"+string(rune(g.Credential%1000)))
		valid[i] = !b.revoked[g.Credential] && key == g.Key
	}
	return valid, nil
}

func (b *bench) take(ctx context.Context, m ingest.Message) error {
	b.mu.Lock()
	submit, full := b.submit, b.full
	b.mu.Unlock()
	if full != nil {
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	if strings.HasSuffix(m.Topic, "/status") {
		b.links = append(b.links, m.Link)
		b.statuses = append(b.statuses,
			m.Topic[:len(m.Topic)-len("/status")]+" by "+m.Gateway+" "+string(m.Payload))
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	if submit != nil {
		return submit(ctx, m)
	}
	b.got <- m
	return nil
}

// said returns what was reported of gateways so far.
func (b *bench) said() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.statuses, "\n")
}

func (b *bench) says(want ...string) {
	b.t.Helper()
	until(b.t, "it is said that "+strings.Join(want, ", "),
		func() bool { return b.said() == strings.Join(want, "\n") }, b.said)
}

// set changes something that the broker asks for.
func (b *bench) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// next returns the next n messages.
func (b *bench) next(n int) []ingest.Message {
	b.t.Helper()
	var ms []ingest.Message
	for len(ms) < n {
		select {
		case m := <-b.got:
			ms = append(ms, m)
		case <-time.After(limit):
			b.t.Fatalf("%d of %d messages came", len(ms), n)
		}
	}
	return ms
}

// none checks that nothing more was submitted by the time that a client of its own is served.
func (b *bench) none() {
	b.t.Helper()
	c := b.client("g3")
	c.publish(1, 1, "sensors/g3/s/data", "last")
	if got := string(b.next(1)[0].Payload); got != "last" {
		b.t.Errorf("submitted: %s", got)
	}
	c.close()
}

func until(t testing.TB, what string, holds func() bool, state ...func() string) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); {
		if time.Now().After(end) {
			for _, s := range state {
				what += "\nbut:\n" + s()
			}
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// client speaks MQTT v5 packet by packet.
type client struct {
	t    testing.TB
	conn net.Conn
	why  string // reason string of the last CONNACK
}

func (b *bench) dial() *client {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.over(conn)
}

// over returns a client that speaks over conn.
func (b *bench) over(conn net.Conn) *client {
	c := &client{t: b.t, conn: conn}
	b.t.Cleanup(c.close)
	return c
}

// client returns one that is logged in as gateway.
func (b *bench) client(gateway string, change ...func(*packets.Connect)) *client {
	b.t.Helper()
	c := b.dial()
	if got := c.login(gateway, change...); !strings.HasPrefix(got, "CONNACK 0x00") {
		b.t.Fatalf("login of %s: %s", gateway, got)
	}
	return c
}

// login sends a CONNECT and returns the answer.
func (c *client) login(gateway string, change ...func(*packets.Connect)) string {
	c.t.Helper()
	c.sendConnect(gateway, change...)
	return c.read()
}

func (c *client) sendConnect(gateway string, change ...func(*packets.Connect)) {
	c.t.Helper()
	pk := &packets.Connect{
		ProtocolName:    "MQTT",
		ProtocolVersion: 5,
		ClientID:        gateway,
		CleanStart:      true,
		UsernameFlag:    true,
		Username:        gateway,
		PasswordFlag:    true, Password: []byte("secret"), Properties: &packets.Properties{},
	}
	for _, f := range change {
		f(pk)
	}
	c.send(packets.CONNECT, pk)
}

func (c *client) send(kind byte, content packets.Packet) {
	c.t.Helper()
	if _, err := (&packets.ControlPacket{
		FixedHeader: packets.FixedHeader{Type: kind},
		Content:     content,
	}).WriteTo(c.conn); err != nil {
		c.t.Logf("send: %v", err)
	}
}

func (c *client) publish(qos byte, id uint16, topic, payload string) {
	c.t.Helper()
	pk := &packets.Publish{
		QoS:        qos,
		PacketID:   id,
		Topic:      topic,
		Payload:    []byte(payload),
		Properties: &packets.Properties{},
	}
	cp := packets.NewControlPacket(packets.PUBLISH)
	cp.Content, cp.Flags = pk, qos<<1
	if _, err := cp.WriteTo(c.conn); err != nil {
		c.t.Logf("publish: %v", err)
	}
}

func (c *client) write(b ...byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Logf("write: %v", err)
	}
}

// read reads the next packet and returns it as text: kind, packet id, reason code, reason string.
func (c *client) read() string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	pk, err := packets.ReadPacket(c.conn)
	var netErr net.Error
	switch {
	case errors.As(err, &netErr) && netErr.Timeout():
		return "nothing"
	case err != nil:
		return "closed"
	}
	text := func(p *packets.Properties) string {
		if p == nil || p.ReasonString == "" {
			return ""
		}
		return " " + p.ReasonString
	}
	switch p := pk.Content.(type) {
	case *packets.Connack:
		c.why = strings.TrimSpace(text(p.Properties))
		return fmt.Sprintf("CONNACK %#02x%s", p.ReasonCode,
			map[bool]string{true: " session present"}[p.SessionPresent])
	case *packets.Puback:
		return fmt.Sprintf("PUBACK %d %#02x%s", p.PacketID, p.ReasonCode, text(p.Properties))
	case *packets.Disconnect:
		return fmt.Sprintf("DISCONNECT %#02x", p.ReasonCode)
	case *packets.Suback:
		return fmt.Sprintf("SUBACK %d % #x", p.PacketID, p.Reasons)
	case *packets.Publish:
		return fmt.Sprintf("PUBLISH %s %s", p.Topic, p.Payload)
	}
	return pk.PacketType()
}

// reads checks what comes next.
func (c *client) reads(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.read(); got != w {
			c.t.Fatalf("read: got %q, want %q", got, w)
		}
	}
}

// pings checks that the next packet is the answer to a PINGREQ: that nothing else was sent before.
func (c *client) pings() {
	c.t.Helper()
	c.write(0xc0, 0)
	c.reads("PINGRESP")
}

// ends checks that the broker closes the connection, whatever it sends before.
func (c *client) ends(within time.Duration) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(within))
	if _, err := io.Copy(io.Discard, c.conn); err != nil {
		var netErr net.Error
		if errors.As(err, &netErr) && netErr.Timeout() {
			c.t.Fatalf("the connection is open after %v", within)
		}
	}
}

func (c *client) close() { _ = c.conn.Close() }

// leave says goodbye.
func (c *client) leave() {
	c.send(packets.DISCONNECT, &packets.Disconnect{Properties: &packets.Properties{}})
	c.ends(limit)
	c.close()
}

// old speaks MQTT 3.1.1.
type old struct{ *client }

func (b *bench) old(gateway string) old {
	b.t.Helper()
	c := old{b.dial()}
	c.write(old{}.connect(gateway, "secret")...)
	c.gets(0x20, 2, 0, 0)
	return c
}

func mqttText(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }

func (old) connect(gateway, secret string) []byte {
	body := append(mqttText("MQTT"), 4, 0xc2, 0, 60)
	body = append(append(append(body, mqttText(gateway)...), mqttText(gateway)...),
		mqttText(secret)...)
	return append([]byte{0x10, byte(len(body))}, body...)
}

func (c old) publish(qos byte, id uint16, topic, payload string) {
	c.t.Helper()
	body := mqttText(topic)
	if qos > 0 {
		body = append(body, byte(id>>8), byte(id))
	}
	body = append(body, payload...)
	c.write(append([]byte{0x30 | qos<<1, byte(len(body))}, body...)...)
}

// gets checks the bytes that come next.
func (c old) gets(want ...byte) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c.conn, got); err != nil || !bytes.Equal(got, want) {
		c.t.Fatalf("got % x, %v, want % x", got[:n], err, want)
	}
}

func ptr[T any](v T) *T { return &v }
