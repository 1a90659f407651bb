package broker

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	mqtt "github.com/mochi-mqtt/server/v2"
	mochi "github.com/mochi-mqtt/server/v2/packets"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

// mochiProbe is a hook that records its calls and whose methods a test sets.
type mochiProbe struct {
	mqtt.HookBase
	publish func(mochi.Packet) error
	read    func(mochi.Packet) error

	mu    sync.Mutex
	calls []string
}

func (p *mochiProbe) ID() string         { return "probe" }
func (p *mochiProbe) Provides(byte) bool { return true }

func (p *mochiProbe) Init(any) error { return nil }

func (p *mochiProbe) note(call string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, call)
}

func (p *mochiProbe) noted() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.calls, ", ")
}

func (p *mochiProbe) OnConnectAuthenticate(*mqtt.Client, mochi.Packet) bool { return true }

func (p *mochiProbe) OnACLCheck(_ *mqtt.Client, topic string, write bool) bool {
	if write {
		p.note("acl " + topic)
	}
	return true
}

func (p *mochiProbe) OnPublish(_ *mqtt.Client, pk mochi.Packet) (mochi.Packet, error) {
	p.note("publish " + pk.TopicName)
	if p.publish == nil {
		return pk, nil
	}
	return pk, p.publish(pk)
}

func (p *mochiProbe) OnPacketRead(_ *mqtt.Client, pk mochi.Packet) (mochi.Packet, error) {
	if p.read == nil || pk.FixedHeader.Type != mochi.Publish {
		return pk, nil
	}
	return pk, p.read(pk)
}

func (p *mochiProbe) OnWill(_ *mqtt.Client, will mqtt.Will) (mqtt.Will, error) {
	p.note("will " + will.TopicName)
	return will, nil
}

func (p *mochiProbe) OnWillSent(_ *mqtt.Client, pk mochi.Packet) { p.note("sent " + pk.TopicName) }

// bare starts mochi-mqtt itself with the hook, behind our listener, and returns a testBroker that
// only has its address.
func bare(t *testing.T, p *mochiProbe) (b *testBroker, logged func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log syncbuf.Buffer
	server := mqtt.New(&mqtt.Options{
		Capabilities: mqtt.NewDefaultServerCapabilities(),
		Logger:       slog.New(slog.DiscardHandler),
	})
	limiter := newConnLimiter(DefaultConfig(), &server.Listeners.ClientsWg)
	journal := &connJournal{
		log: slog.New(slog.NewTextHandler(&log, nil)),
		metrics: newMetrics(prometheus.NewRegistry(), func() float64 { return 0 },
			&limiter.pending),
	}
	ours := newListener("mqtt", l, plain, limiter, journal)
	for _, err := range []error{server.AddHook(p, nil), server.AddListener(ours), server.Serve()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		ours.serving.Wait()
	})
	return &testBroker{t: t, addr: l.Addr().String()}, log.String
}

func (c *client) subscribe(filter string) {
	c.t.Helper()
	cp := packets.NewControlPacket(packets.SUBSCRIBE)
	cp.Content.(*packets.Subscribe).PacketID = 1
	cp.Content.(*packets.Subscribe).Subscriptions = []packets.SubOptions{{Topic: filter, QoS: 0}}
	if _, err := cp.WriteTo(c.conn); err != nil {
		c.t.Fatal(err)
	}
	c.reads("SUBACK 1 0x00")
}

// TestMochi_BehavesAsTheHookExpects pins what the hook relies on in mochi-mqtt. When it fails after
// an upgrade, the hook must be reviewed.
func TestMochi_BehavesAsTheHookExpects(t *testing.T) {
	reject := func(err error) func(mochi.Packet) error {
		return func(mochi.Packet) error { return err }
	}
	t.Run("ErrRejectPacket from OnPublish means no PUBACK and no routing", func(t *testing.T) {
		b, _ := bare(t, &mochiProbe{publish: reject(mochi.ErrRejectPacket)})
		listening, c := b.client("g2"), b.client("g1")
		listening.subscribe("#")
		c.publish(1, 1, "a", "x")
		c.pings()
		listening.pings()
	})
	t.Run("any other error means a PUBACK of success, and routing", func(t *testing.T) {
		b, _ := bare(t, &mochiProbe{publish: reject(errors.New("no"))})
		listening, c := b.client("g2"), b.client("g1")
		listening.subscribe("a")
		c.publish(1, 1, "a", "x")
		c.reads("PUBACK 1 0x00")
		listening.reads("PUBLISH a x")
	})
	t.Run("a reason code from OnPublish is the PUBACK's", func(t *testing.T) {
		b, _ := bare(t, &mochiProbe{publish: reject(mochi.ErrQuotaExceeded)})
		c := b.client("g1")
		c.publish(1, 1, "a", "x")
		c.reads("PUBACK 1 0x97 quota exceeded")
	})
	t.Run("a rejected publish takes no place of Receive Maximum", func(t *testing.T) {
		b, _ := bare(t, &mochiProbe{publish: reject(mochi.ErrRejectPacket)})
		c := b.client("g1")
		for i := range 2000 { // its own is 1024
			c.publish(1, uint16(i+1), "a", "x")
		}
		c.pings()
	})
	t.Run("wills pass neither OnACLCheck nor OnPublish", func(t *testing.T) {
		p := &mochiProbe{}
		b, _ := bare(t, p)
		listening := b.client("g2")
		listening.subscribe("secret")
		b.client("g1", will("secret", "x")).close()
		listening.reads("PUBLISH secret x")
		testutil.Eventually(t, testutil.Timeout, "the will is sent",
			func() bool { return p.noted() == "will secret, sent secret" },
			p.noted)
	})
	t.Run("no hook is protected against a panic", func(t *testing.T) {
		b, logged := bare(t, &mochiProbe{publish: func(mochi.Packet) error { panic("bomb") }})
		c := b.client("g1")
		c.publish(1, 1, "a", "x")
		c.reads("closed")
		testutil.Eventually(t, testutil.Timeout, "our listener has caught it",
			func() bool { return strings.Contains(logged(), "mqtt connection panicked") })
		b.client("g1").pings()
	})
	t.Run("an error from OnPacketRead is ignored, ErrRejectPacket ends the connection",
		func(t *testing.T) {
			b, _ := bare(t, &mochiProbe{read: func(pk mochi.Packet) error {
				if pk.TopicName == "reject" {
					return mochi.ErrRejectPacket
				}
				return mochi.ErrQosNotSupported
			}})
			c := b.client("g1")
			c.publish(1, 1, "a", "x")
			c.reads("PUBACK 1 0x00")
			c.publish(1, 2, "reject", "x")
			c.reads("closed")
		})
	t.Run("a publish to $SYS is passed over without a PUBACK", func(t *testing.T) {
		p := &mochiProbe{}
		b, _ := bare(t, p)
		c := b.client("g1")
		c.publish(1, 1, "$SYS/x", "x")
		c.pings()
		if got := p.noted(); got != "" {
			t.Errorf("called: %s", got)
		}
	})
	t.Run("a keep-alive of 43691 s is none", func(t *testing.T) {
		b, _ := bare(t, &mochiProbe{})
		c := b.client("g1", func(c *packets.Connect) { c.KeepAlive = 43691 })
		c.ends(limit)
	})
}
