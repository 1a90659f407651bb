package broker

import (
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/oei-ms/oei-ms/internal/testutil"
)

func TestConnect_Login(t *testing.T) {
	b := newTestBroker(t, nil)
	set := func(f func(*packets.Connect)) func(*packets.Connect) { return f }
	tests := map[string]struct {
		connect func(*packets.Connect)
		down    bool
		want    string
	}{
		"the right secret": {
			set(func(*packets.Connect) {}), false, "CONNACK 0x00",
		},
		"a suffix to tell connections apart": {
			set(func(c *packets.Connect) { c.ClientID = "g1:2" }), false, "CONNACK 0x00",
		},
		"a wrong secret": {
			set(func(c *packets.Connect) { c.Password = []byte("x") }), false, "CONNACK 0x86",
		},
		"no secret": {
			set(func(c *packets.Connect) { c.PasswordFlag, c.Password = false, nil }), false,
			"CONNACK 0x86",
		},
		"an unknown gateway": {
			set(func(c *packets.Connect) { c.ClientID, c.Username = "g9", "g9" }), false,
			"CONNACK 0x86",
		},
		"no user name": {
			set(func(c *packets.Connect) {
				c.UsernameFlag, c.PasswordFlag, c.Username = false, false, ""
			}),
			false, "CONNACK 0x85",
		},
		"another gateway's client id": {
			set(func(c *packets.Connect) { c.ClientID = "g2" }), false, "CONNACK 0x85",
		},
		"a client id that only begins so": {
			set(func(c *packets.Connect) { c.ClientID = "g12" }), false, "CONNACK 0x85",
		},
		"no client id": {
			set(func(c *packets.Connect) { c.ClientID = "" }), false, "CONNACK 0x85",
		},
		"a database that is away": {set(func(*packets.Connect) {}), true, "CONNACK 0x88"},
		"a database away does not tell who": {
			set(func(c *packets.Connect) { c.Password = []byte("x") }), true, "CONNACK 0x88",
		},
		"a will of QoS 2": {set(func(c *packets.Connect) {
			will("x", "x")(c)
			c.WillQOS = 2
		}), false, "CONNACK 0x9b"},
		"a will that is to be retained": {set(func(c *packets.Connect) {
			will("x", "x")(c)
			c.WillRetain = true
		}), false, "CONNACK 0x9a"},
		"a keep-alive of 43691 s": {
			set(func(c *packets.Connect) { c.KeepAlive = 43691 }), false, "CONNACK 0x00",
		},
		"the longest keep-alive that there is": {
			set(func(c *packets.Connect) { c.KeepAlive = 65535 }), false, "CONNACK 0x00",
		},
	}
	reasons := map[string]string{
		"CONNACK 0x85": "the client id must be the user name",
		"CONNACK 0x86": "no gateway in use has this key with this secret",
		"CONNACK 0x88": "the database is not available; try again later",
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b.set(func() { b.down = tt.down })
			defer b.set(func() { b.down = false })
			c := b.dial()
			if got := c.login("g1", tt.connect); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if why := reasons[tt.want]; !strings.Contains(c.why, why) ||
				tt.want == "CONNACK 0x00" && c.why != "" {
				t.Errorf("got the reason %q, want %q", c.why, why)
			}
			if tt.want == "CONNACK 0x00" {
				c.pings()
				c.pings()
				c.leave()
			} else {
				c.reads("closed")
			}
		})
	}
	for secret, want := range map[string]byte{"secret": 0, "x": 5} {
		c := old{b.dial()}
		c.write(c.connect("g1", secret)...)
		c.gets(0x20, 2, 0, want)
		c.close()
	}
}

func TestConnect_ConnackNamesWhatIsNotAvailable(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ReceiveMaximum, c.MaxPacket = 17, 5000 })
	c := b.dial()
	c.sendConnect("g1")
	pk, err := packets.ReadPacket(c.conn)
	if err != nil {
		t.Fatal(err)
	}
	p := pk.Content.(*packets.Connack).Properties
	zero := func(b *byte) bool { return b != nil && *b == 0 }
	if p.MaximumQOS == nil || *p.MaximumQOS != 1 || !zero(p.RetainAvailable) ||
		!zero(p.WildcardSubAvailable) || !zero(p.SharedSubAvailable) ||
		p.ReceiveMaximum == nil || *p.ReceiveMaximum != 17 || p.MaximumPacketSize == nil ||
		*p.MaximumPacketSize != 5000 || p.TopicAliasMaximum != nil &&
		*p.TopicAliasMaximum != 0 {
		t.Errorf("got %v", p)
	}
}

func TestConnect_TimesOut(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.ConnectTimeout = time.Second })
	good := b.client("g1")
	silent, slow := b.dial(), b.dial()
	began := time.Now()
	go func() { // a byte now and then does not help
		for _, octet := range (old{}).connect("g2", "secret") {
			if _, err := slow.conn.Write([]byte{octet}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	silent.ends(5 * time.Second)
	slow.ends(5 * time.Second)
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("closed after %v", took)
	}
	good.pings() // it was silent for longer, but it is logged in
}

func TestKeepAlive_EndsSilentConnections(t *testing.T) {
	b := newTestBroker(t, nil)
	c := b.client("g1", func(c *packets.Connect) { c.KeepAlive = 1 })
	c.ends(5 * time.Second)
	b.waitForStatuses(g1Online, g1Offline)
}

func TestConnect_OverTheConnectionLimits(t *testing.T) {
	tests := map[string]func(*Config){
		"in all":           func(c *Config) { c.MaxConnections = 3 },
		"from one address": func(c *Config) { c.MaxConnectionsPerAddress = 3 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := newTestBroker(t, change)
			silent := b.dial() // counts too
			first := b.client("g1")
			b.client("g2")
			b.dial().ends(limit)
			overLimit := b.dial()
			if got := overLimit.login("g3"); got != "CONNACK 0x97" ||
				!strings.Contains(overLimit.why, "maximum number of connections is open") {
				t.Errorf("one too many: got %q, %q", got, overLimit.why)
			}
			overLimit.ends(limit)
			older := old{b.dial()}
			older.write(older.connect("g3", "secret")...)
			older.gets(0x20, 2, 0, 3)
			older.ends(limit)
			for range maxOverLimit { // who say nothing
				b.dial()
			}
			b.dial().ends(overLimitTimeout / 2)
			first.pings()
			silent.close()
			testutil.Eventually(t, testutil.Timeout, "there is room",
				func() bool { return strings.HasPrefix(b.dial().login("g3"), "CONNACK 0x00") })
		})
	}
}

func TestConnect_WrongSecretsAreLimited(t *testing.T) {
	b := newTestBroker(t, nil)
	b.set(func() { b.failures = map[string]int{} })
	wrong := func(c *packets.Connect) { c.Password = []byte("x") }
	b.set(func() { b.down = true })
	for range 5 { // is no failure of the gateway
		if got := b.dial().login("g1", wrong); got != "CONNACK 0x88" {
			t.Errorf("while the database is away: got %s", got)
		}
	}
	b.set(func() { b.down = false })
	for range maxFailures {
		if got := b.dial().login("g1", wrong); got != "CONNACK 0x86" {
			t.Errorf("got %s", got)
		}
	}
	b.client("g2")
	var before, after int
	b.set(func() { before = b.logins })
	c := b.dial()
	if got := c.login("g1"); got != "CONNACK 0x9f" || c.why != "too many wrong secrets; wait 7m0s" {
		t.Errorf("the right secret then: got %s, %q", got, c.why)
	}
	if got := (old{b.dial()}).answer(connectOf("MQTT", 4, 0xc2, "g1", "", "", "g1", "x")); string(
		got,
	) != "\x20\x02\x00\x03" {
		t.Errorf("by MQTT 3.1.1: got % x", got)
	}
	b.set(func() { after = b.logins })
	if after != before {
		t.Error("secrets are looked at all the same")
	}
	testutil.Eventually(t, testutil.Timeout, "it is counted",
		func() bool {
			return b.counted("oei_mqtt_connections_refused_total", "too_many_failed") == 2
		})
	b.set(func() {
		if n := b.failures["127.0.0.1 g2"]; n != 0 {
			t.Errorf("g2 has %d failures", n)
		}
	})
}
