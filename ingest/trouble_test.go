package ingest_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
)

// runSource runs a source for the time of the test.
func runSource(t *testing.T, cfg ingest.SourceConfig) (*ingest.Source, *syncbuf.Buffer) {
	t.Helper()
	log := &syncbuf.Buffer{}
	submit := func(context.Context, ingest.Message) error { return nil }
	s := ingest.NewSource(cfg, submit, slog.New(slog.NewTextHandler(log, nil)), newRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("source: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return s, log
}

// TestWhatABrokerRefusesIsSaidWithItsRemedy looks at what anybody may read at /health, and what is
// in the log.
func TestWhatABrokerRefusesIsSaidWithItsRemedy(t *testing.T) {
	closed := mosquitto.StartAs(t, documented(t, "mosquitto.conf"), documented(t, "acl"), "oei-ms")
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and hangs up
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	go func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	gone := mosquitto.Start(t)
	gone.Stop()
	strict := startMochi(t)
	at := func(host string, port int) ingest.SourceConfig {
		cfg := ingest.DefaultSourceConfig()
		cfg.Host, cfg.Port, cfg.ClientID, cfg.ShareGroup, cfg.Username, cfg.Password = host, port, "one", "oei-ms-hidden", "oei-ms", "oei-ms"
		return cfg
	}
	port := func(l net.Addr) int { return l.(*net.TCPAddr).Port }
	tests := map[string]struct {
		cfg    ingest.SourceConfig
		change func(*ingest.SourceConfig)
		want   []string
	}{
		"a wrong password": {
			at(closed.Host(), closed.Port()),
			func(c *ingest.SourceConfig) { c.Password = "hunter2" },
			[]string{"refuses this user or password", "0x87", "MQTT_PASSWORD"},
		},
		"a user that it does not know": {
			at(closed.Host(), closed.Port()),
			func(c *ingest.SourceConfig) { c.Username = "mallory" },
			[]string{"refuses this user or password", "MQTT_USERNAME"},
		},
		"no user": {
			at(closed.Host(), closed.Port()),
			func(c *ingest.SourceConfig) { c.Username, c.Password = "", "" },
			[]string{"lets nobody in without a user", "MQTT_USERNAME"},
		},
		"topics that are not for us": {
			at("127.0.0.1", port(strict)), nil,
			[]string{"does not let us read gateways/+/data", "gateways/+/status", "0x87", "$share"},
		},
		"nobody at that port": {
			at(gone.Host(), gone.Port()), nil, []string{"is not there", "MQTT_HOST", "MQTT_PORT"},
		},
		"a name that nobody knows": {
			at("broker.invalid", 1883), nil, []string{"has a name that is not known", "MQTT_HOST"},
		},
		"TLS where there is none": {
			at(closed.Host(), closed.Port()), func(c *ingest.SourceConfig) { c.TLS = true },
			[]string{"TLS", "OEI_MQTT_TLS"},
		},
		"something that is not a broker": {
			at("127.0.0.1", port(mute.Addr())), nil,
			[]string{"does not answer as a broker of MQTT v5", "MQTT_PORT"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tt.change != nil {
				tt.change(&tt.cfg)
			}
			s, log := runSource(t, tt.cfg)
			var detail string
			until(t, "it says why", func() bool {
				var err error
				detail, err = s.Check(t.Context())
				return err != nil && !strings.HasSuffix(detail, "not connected yet")
			})
			for _, want := range append(tt.want, "the broker at "+net.JoinHostPort(tt.cfg.Host, "")) {
				if !strings.Contains(detail, want) || !strings.Contains(log.String(), want) {
					t.Errorf("got %q, and in the log %s; want %q", detail, log, want)
				}
			}
			for _, secret := range []string{"hunter2", "mallory", "oei-ms-hidden"} {
				if strings.Contains(detail, secret) {
					t.Errorf("%q is in %q", secret, detail)
				}
			}
		})
	}
}

// startMochi starts a broker that says by its SUBACK what may not be read, as EMQX does and
// mosquitto does not: sensors may be.
func startMochi(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := mqtt.New(&mqtt.Options{Logger: discard})
	if err := b.AddHook(new(sensorsOnly), nil); err != nil {
		t.Fatal(err)
	}
	if err := b.AddListener(listeners.NewNet("tcp", l)); err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return l.Addr()
}

// sensorsOnly lets everybody in, and read what sensors send.
type sensorsOnly struct{ mqtt.HookBase }

func (*sensorsOnly) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

func (*sensorsOnly) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

func (*sensorsOnly) OnACLCheck(_ *mqtt.Client, topic string, _ bool) bool {
	return strings.Contains(topic, "sensors/")
}

func TestTwoSourcesWithOneClientIDAreTold(t *testing.T) {
	says := startMochi(t).(*net.TCPAddr)
	silent := mosquitto.Start(t)
	for name, tt := range map[string]struct {
		host string
		port int
		want string
	}{
		"by a broker that says so": {
			"127.0.0.1", says.Port, "has given our session to another connection (0x8e)",
		},
		"behind a broker that says nothing": {silent.Host(), silent.Port(), "as soon as it is made"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := ingest.DefaultSourceConfig()
			cfg.Host, cfg.Port, cfg.ClientID, cfg.ShareGroup = tt.host, tt.port, "one", "oei-ms-test"
			_, log := runSource(t, cfg)
			runSource(t, cfg)
			until(t, "one is told", func() bool {
				return strings.Contains(log.String(), tt.want) &&
					strings.Contains(log.String(), "OEI_MQTT_CLIENT_ID")
			})
		})
	}
}

// TestABrokerThatStops_IsNotBlamedOnAnotherClient stops a broker that was connected to a moment
// ago, as in a restart.
func TestABrokerThatStops_IsNotBlamedOnAnotherClient(t *testing.T) {
	silent := mosquitto.Start(t)
	for name, stop := range map[string]func(){"stopped": silent.Stop, "killed": silent.Kill} {
		t.Run(name, func(t *testing.T) {
			cfg := sourceConfig(silent, "one")
			s, log := runSource(t, cfg)
			for range 2 {
				until(t, "it is connected",
					func() bool { _, err := s.Check(t.Context()); return err == nil })
				stop()
				until(t, "it is told",
					func() bool { return strings.Contains(log.String(), "lost the mqtt broker") })
				until(t, "and that nothing is there",
					func() bool {
						detail, _ := s.Check(t.Context())
						return strings.Contains(detail,
							"is not there")
					})
				silent.Run()
			}
			if strings.Contains(log.String(), "OEI_MQTT_CLIENT_ID") {
				t.Errorf("logged:\n%s", log)
			}
			first, _, _ := strings.Cut(log.String()[strings.Index(log.String(), "level=WARN"):],
				"\n")
			if !strings.Contains(first, "is shutting down (0x8b)") &&
				!strings.Contains(first, "has closed the connection without saying why") &&
				!strings.Contains(first, "is lost: ") {
				t.Errorf("the first warning: %s", first)
			}
		})
	}
}

func TestWhatIsPublishedAndRefusedIsSaid(t *testing.T) {
	b := mosquitto.StartAs(t, documented(t, "mosquitto.conf"),
		strings.ReplaceAll(documented(t, "acl"), "topic write alarms/#\n", ""), "oei-ms")
	cfg := sourceConfig(b, "oei-ms")
	cfg.Username, cfg.Password = "oei-ms", "oei-ms"
	in := receive(t, cfg, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := in.source.Publish(ctx, "alarms/g1/t1", []byte("{}"))
	if err == nil || !strings.Contains(err.Error(), "does not let us write alarms/g1/t1 (0x87)") {
		t.Errorf("got %v", err)
	}
}
