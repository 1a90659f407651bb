package broker

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

func TestPendingLogins_MemoryIsLimited(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ConnectTimeout = limit })
	value := func(name string) float64 { return gathered(t, b.reg, name) }
	packet := connectOf("MQTT", 4, 0xc6, "g1", "x", strings.Repeat("x", 16_000), "g1", "secret")
	const each = 16_000
	held := maxSharedBeforeLogin / (each - freeBeforeLogin)
	for range held + 8 {
		c := b.dial()
		c.write(packet[:each]...) // never finished
	}
	testutil.Eventually(t, testutil.Timeout, "the memory for them is full",
		func() bool {
			return b.counted("oei_mqtt_connections_refused_total", "memory") > 0
		}, b.out.String)
	testutil.Eventually(t, testutil.Timeout, "no more is held than allowed", func() bool {
		return value("oei_mqtt_pending_connections") <= float64(held) &&
			value("oei_mqtt_pending_bytes") <= maxSharedBeforeLogin+float64(held+1)*freeBeforeLogin
	}, func() string {
		return fmt.Sprint(value("oei_mqtt_pending_connections"), value("oei_mqtt_pending_bytes"))
	})
	b.client("g1").pings() // an ordinary gateway finds room all the same
	b.old("g2")
	if n := value("oei_mqtt_pending_bytes"); n < maxSharedBeforeLogin/2 {
		t.Errorf("only %v bytes are held", n)
	}
}

func gathered(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestPendingLogins_MemoryOfOneConnectionIsLimited(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	var pending pendingLogins
	w := newSocket(here, &pending)
	go func() { _, _ = io.Copy(there, strings.NewReader(strings.Repeat("x", 2*maxBeforeLogin))) }()
	n, err := io.Copy(io.Discard, w)
	if n != maxBeforeLogin || err == nil {
		t.Errorf("got %d bytes, %v", n, err)
	}
	w.login()
	if conns, bytes := pending.load(); conns != 0 || bytes != 0 || pending.shared != 0 {
		t.Errorf("after the login: %d connections, %d bytes", conns, bytes)
	}
}
