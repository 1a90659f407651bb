package notify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/notify"
	"github.com/oei-ms/oei-ms/store"
)

func TestClock_NamesItsTimeZone(t *testing.T) {
	for _, c := range []struct{ at, zone, want string }{
		{"2026-01-02T03:04:05Z", "UTC", "2026-01-02 03:04:05 UTC"},
		{"2026-01-02T03:04:05Z", "Europe/Rome", "2026-01-02 04:04:05 CET (+01:00)"},
		{"2026-10-25T00:30:00Z", "Europe/Rome", "2026-10-25 02:30:00 CEST (+02:00)"},
		{"2026-10-25T01:30:00Z", "Europe/Rome", "2026-10-25 02:30:00 CET (+01:00)"},
		{"2026-01-02T03:04:05Z", "America/Sao_Paulo", "2026-01-02 00:04:05 -03:00"},
		{"2026-01-02T03:04:05Z", "Asia/Kolkata", "2026-01-02 08:34:05 IST (+05:30)"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := notify.Clock(at, zone); got != c.want {
			t.Errorf("%s in %s: got %q, want %q", c.at, c.zone, got, c.want)
		}
	}
}

func TestText_NamesSensorsByName(t *testing.T) {
	e := store.NotificationEvent{
		Sensor:      "t1",
		SensorName:  "Bearing temperature",
		Gateway:     "g1",
		GatewayName: "Press 1",
	}
	const want = "Press 1/Bearing temperature g1/t1"
	got := notify.Render("{gateway}/{sensor} {gateway_key}/{sensor_key}", e)
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	e.SensorName, e.GatewayName = "", ""
	if got := notify.Render("{gateway}/{sensor}", e); got != "g1/t1" {
		t.Errorf("an event without names: got %q, want g1/t1", got)
	}
}

func TestConfig_RefusesUnknownTimeZones(t *testing.T) {
	for zone, want := range map[string]bool{
		"UTC": true, "Europe/Rome": true, "": false, "Local": false, "Europe/Atlantis": false,
	} {
		cfg := notify.DefaultConfig()
		cfg.TimeZone = zone
		if err := cfg.Validate(); (err == nil) != want || err != nil &&
			!strings.HasPrefix(err.Error(), "OEI_NOTIFY_TIME_ZONE: ") {
			t.Errorf("%q: got %v", zone, err)
		}
	}
}
