package broker

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/testutil"
)

// TestMalformedPackets sends every kind of packet cut off at every byte, by clients of each version
// that have logged in.
func TestMalformedPackets_EndTheConnectionAtOnce(t *testing.T) {
	b := newTestBroker(t, func(c *Config) { c.MaxPacket = 1 << 20 })
	b.set(func() { b.submit = func(context.Context, ingest.Message) error { return nil } })
	bystander := b.client("g2")
	ended := 0
	for _, version := range []byte{4, 5} {
		for name, packet := range clientPackets(version) {
			first, body := split(packet)
			for n := 0; n < len(body); n += 1 + n/8 {
				f := (packetChecker{version: version}).check(first, body[:n])
				if f == nil {
					continue
				}
				ended++
				var got []byte
				if version == 5 {
					c := b.client("g1")
					got = c.answer(joined(first, body[:n]))
				} else {
					got = b.old("g1").answer(joined(first, body[:n]))
				}
				if version == 5 &&
					!bytes.HasPrefix(got, []byte{0xe0, byte(len(got) - 2), f.code}) ||
					version == 4 && len(got) > 0 {
					t.Errorf("version %d: %d bytes of %s: got % x, want a DISCONNECT %#x", version,
						n, name, got, f.code)
				}
			}
		}
	}
	testutil.Eventually(t, testutil.Timeout, "every one is offline",
		func() bool {
			return strings.Count(b.submittedStatuses(), g1Offline) >= 1 && b.connected() == 1
		}, b.submittedStatuses)
	bystander.pings()
	if out := b.out.String(); strings.Contains(out, "panic") ||
		strings.Contains(out, "goroutine") || strings.Count(out, "reason=malformed") != 1 {
		t.Errorf("logged:\n%s", out)
	}
	testutil.Eventually(t, testutil.Timeout, "every one is counted", func() bool {
		const counter = "oei_mqtt_connections_ended_total"
		return b.counted(counter, "malformed")+b.counted(counter, "protocol_error") == ended
	})
}

// TestMalformedPackets_BeforeLogin sends a CONNECT cut off at every byte.
func TestMalformedPackets_BeforeLogin(t *testing.T) {
	b := newTestBroker(t, nil)
	for _, packet := range [][]byte{
		connectPacket(), connectOf("MQTT", 4, 0xc6, "g1", "x", "x", "g1", "secret"),
		connectOf("MQIsdp", 3, 0xc2, "g1", "", "", "g1", "secret"),
	} {
		first, body := split(packet)
		for n := range len(body) {
			got := b.dial().answer(joined(first, body[:n]))
			if len(got) > 0 &&
				(got[0] != 0x20 || got[3] != codeMalformed && got[3] != codeProtocolError) {
				t.Errorf("%d of %d bytes: got % x", n, len(body), got)
			}
		}
	}
	b.client("g1").pings()
	if out := b.out.String(); strings.Contains(out, "panic") {
		t.Errorf("logged:\n%s", out)
	}
	if got := b.submittedStatuses(); got != g1Online {
		t.Errorf("said: %s", got)
	}
}
