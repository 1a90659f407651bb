package mqttsource_test

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
	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/mosquitto"
	"github.com/oei-ms/oei-ms/internal/mqttsource"
	"github.com/oei-ms/oei-ms/internal/syncbuf"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

// runSource runs a source until the test ends.
func runSource(t *testing.T, cfg mqttsource.Config) (*mqttsource.Source, *syncbuf.Buffer) {
	t.Helper()
	log := &syncbuf.Buffer{}
	submit := func(context.Context, ingest.Message) error { return nil }
	s := mqttsource.New(cfg, submit, slog.New(slog.NewTextHandler(log, nil)),
		prometheus.NewRegistry())
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

// listenAndHangUp listens on a port and closes every connection at once.
func listenAndHangUp(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return l.Addr()
}

func configAt(host string, port int) mqttsource.Config {
	cfg := mqttsource.DefaultConfig()
	cfg.Host, cfg.Port = host, port
	cfg.ClientID, cfg.ShareGroup = "one", "oei-ms-hidden"
	cfg.Username, cfg.Password = "oei-ms", "oei-ms"
	return cfg
}

// TestDiagnosis_NamesTheFaultAndItsRemedy reads the detail of the health check, which is public,
// and the log.
func TestDiagnosis_NamesTheFaultAndItsRemedy(t *testing.T) {
	closed := mosquitto.StartAs(t, documented(t, "mosquitto.conf"), documented(t, "acl"), "oei-ms")
	hangsUp := listenAndHangUp(t)
	stopped := mosquitto.Start(t)
	stopped.Stop()
	sensorsOnly := startMochi(t)
	port := func(a net.Addr) int { return a.(*net.TCPAddr).Port }
	tests := map[string]struct {
		cfg    mqttsource.Config
		change func(*mqttsource.Config)
		want   []string
	}{
		"a wrong password": {
			configAt(closed.Host(), closed.Port()),
			func(c *mqttsource.Config) { c.Password = "hunter2" },
			[]string{"refuses the user or password", "0x87", "MQTT_PASSWORD"},
		},
		"an unknown user": {
			configAt(closed.Host(), closed.Port()),
			func(c *mqttsource.Config) { c.Username = "mallory" },
			[]string{"refuses the user or password", "MQTT_USERNAME"},
		},
		"no user": {
			configAt(closed.Host(), closed.Port()),
			func(c *mqttsource.Config) { c.Username, c.Password = "", "" },
			[]string{"requires a user", "MQTT_USERNAME"},
		},
		"topics that may not be read": {
			configAt("127.0.0.1", port(sensorsOnly)), nil,
			[]string{
				"does not allow reading gateways/+/data", "gateways/+/status", "0x87", "$share",
			},
		},
		"a port without a listener": {
			configAt(stopped.Host(), stopped.Port()), nil,
			[]string{"does not listen there", "MQTT_HOST", "MQTT_PORT"},
		},
		"an unknown host name": {
			configAt("broker.invalid", 1883), nil,
			[]string{"has an unknown host name", "MQTT_HOST"},
		},
		"TLS on a port without TLS": {
			configAt(closed.Host(), closed.Port()), func(c *mqttsource.Config) { c.TLS = true },
			[]string{"TLS", "OEI_MQTT_TLS"},
		},
		"a listener that is not a broker": {
			configAt("127.0.0.1", port(hangsUp)), nil,
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
			testutil.Eventually(t, testutil.Timeout, "the check says why", func() bool {
				var err error
				detail, err = s.Check(t.Context())
				return err != nil && !strings.HasSuffix(detail, "not connected yet")
			})
			address := "the broker at " + net.JoinHostPort(tt.cfg.Host, "")
			for _, want := range append(tt.want, address) {
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

// startMochi starts a broker that allows subscriptions to sensors only and refuses others in
// its SUBACK, as EMQX does and mosquitto does not.
func startMochi(t *testing.T) net.Addr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := mqtt.New(&mqtt.Options{Logger: discard})
	if err := b.AddHook(new(sensorsOnlyHook), nil); err != nil {
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

type sensorsOnlyHook struct{ mqtt.HookBase }

func (*sensorsOnlyHook) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}

func (*sensorsOnlyHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

func (*sensorsOnlyHook) OnACLCheck(_ *mqtt.Client, topic string, _ bool) bool {
	return strings.Contains(topic, "sensors/")
}

func TestDiagnosis_NamesASharedClientID(t *testing.T) {
	withReason := startMochi(t).(*net.TCPAddr)
	withoutReason := mosquitto.Start(t)
	for name, tt := range map[string]struct {
		host string
		port int
		want string
	}{
		"with a broker that sends a reason": {
			"127.0.0.1", withReason.Port, "gave the session to another connection (0x8e)",
		},
		"with a broker that sends no reason": {
			withoutReason.Host(), withoutReason.Port(), "right after accepting it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configAt(tt.host, tt.port)
			_, log := runSource(t, cfg)
			runSource(t, cfg)
			testutil.Eventually(t, testutil.Timeout, "one of them logs it", func() bool {
				return strings.Contains(log.String(), tt.want) &&
					strings.Contains(log.String(), "OEI_MQTT_CLIENT_ID")
			})
		})
	}
}

// TestDiagnosis_OfARestartBlamesNoOtherClient stops a broker shortly after it was connected.
func TestDiagnosis_OfARestartBlamesNoOtherClient(t *testing.T) {
	b := mosquitto.Start(t)
	for name, stop := range map[string]func(){"stopped": b.Stop, "killed": b.Kill} {
		t.Run(name, func(t *testing.T) {
			s, log := runSource(t, sourceConfig(b, "one"))
			for range 2 {
				testutil.Eventually(t, testutil.Timeout, "the source is connected",
					func() bool { _, err := s.Check(t.Context()); return err == nil })
				stop()
				testutil.Eventually(t, testutil.Timeout, "the loss is logged", func() bool {
					return strings.Contains(log.String(), "mqtt broker connection lost")
				})
				testutil.Eventually(t, testutil.Timeout, "the check says that nothing listens",
					func() bool {
						detail, _ := s.Check(t.Context())
						return strings.Contains(detail, "does not listen there")
					})
				b.Run()
			}
			if strings.Contains(log.String(), "OEI_MQTT_CLIENT_ID") {
				t.Errorf("logged:\n%s", log)
			}
			_, warnings, _ := strings.Cut(log.String(), "level=WARN")
			first, _, _ := strings.Cut(warnings, "\n")
			if !strings.Contains(first, "is shutting down (0x8b)") &&
				!strings.Contains(first, "closed the connection without a reason") &&
				!strings.Contains(first, "is lost: ") {
				t.Errorf("the first warning: %s", first)
			}
		})
	}
}

func TestPublish_NamesTheRefusedTopic(t *testing.T) {
	b := mosquitto.StartAs(t, documented(t, "mosquitto.conf"),
		strings.ReplaceAll(documented(t, "acl"), "topic write alarms/#\n", ""), "oei-ms")
	cfg := sourceConfig(b, "oei-ms")
	cfg.Username, cfg.Password = "oei-ms", "oei-ms"
	in := receive(t, cfg, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := in.source.Publish(ctx, "alarms/g1/t1", []byte("{}"))
	want := "does not allow publishing to alarms/g1/t1 (0x87)"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
