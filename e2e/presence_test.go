package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/gorilla/websocket"

	"github.com/oei-ms/oei-ms/internal/pgtest"
)

// TestPresence_StaysWhenAGatewayMovesToAnotherInstance has a gateway connect to another instance
// while the first one still has its old connection: neither the end of that connection nor its will
// nor a restart makes the gateway offline.
func TestPresence_StaysWhenAGatewayMovesToAnotherInstance(t *testing.T) {
	t.Parallel()
	pg := pgtest.Server(t)
	shared := []string{
		"DATABASE_URL=" + pg.DSN(), "SECRET_KEY=a key of 32 bytes that all of them have",
	}
	dir := dataDir(t)
	a, b := serve(t, dir, shared...), serve(t, dataDir(t), shared...)
	api := b.login()
	d := b.register(api, "press")
	live := b.subscribe(api, fmt.Sprintf("gateways/%d", d.gatewayID))
	status := func() string {
		return query[string](t, pg.DSN(),
			`SELECT status FROM gateways WHERE key = 'press'`)
	}
	connect := func(p *process) *paho.Client {
		t.Helper()
		connect := d.connectPacket()
		connect.WillMessage = &paho.WillMessage{
			Topic:   "gateways/press/status",
			Payload: []byte(`{"status":"offline"}`),
			QoS:     1,
		}
		c, err := dial(t.Context(), p.mqtt, connect, paho.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := connect(a)
	a.eventually(10*time.Second, "it is online", func() bool { return status() == "online" })
	held := query[int64](t, pg.DSN(), `SELECT held_by FROM gateways WHERE key = 'press'`)
	connect(b)
	b.eventually(10*time.Second, "it is at the other instance", func() bool {
		return query[int64](t, pg.DSN(), `SELECT held_by FROM gateways WHERE key = 'press'`) != held
	})
	_ = old.Disconnect(&paho.Disconnect{ReasonCode: 0x04}) // with its will
	<-old.Done()
	a.stop() // when all that it has to say is said
	if got := status(); got != "online" {
		t.Errorf("after the old connection's end: got %s, want online", got)
	}
	a = serve(t, dir, shared...)
	if got := status(); got != "online" {
		t.Errorf("after a restart of the first instance: got %s, want online", got)
	}
	b.stop()
	if got := status(); got != "unknown" {
		t.Errorf("after a stop of the instance that it is connected to: got %s, want unknown", got)
	}
	live.wantClose(t, websocket.CloseGoingAway)
	connect(a)
	a.eventually(10*time.Second, "it is online again", func() bool { return status() == "online" })
}
