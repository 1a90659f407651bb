package server_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

func TestKeyFor(t *testing.T) {
	long := strings.Repeat("Ж", 100)
	for name, want := range map[string]string{
		"温度 1":                       "wen-du-1",
		"Насос №3":                   "nasos-3",
		"Température d’eau – entrée": "temperature-deau-entree",
		"Kühlwasser Ø 5 µm":          "kuhlwasser-o-5-um",
		"ポンプ１":                       "ponpu1",
		"펌프 2":                       "peompeu-2",
		"Bearing temperature":        "bearing-temperature",
		"  Press  No. 3 ":            "press-no-3",
		"boiler_temp 2":              "boiler_temp-2",
		"boiler_temp":                "boiler_temp",
		"TI-101.PV":                  "TI-101.PV",
		"🔥":                          "sensor",
		"-!":                         "sensor",
		"42":                         "sensor-42",
		"１２３":                        "sensor-123",
		long:                         strings.Repeat("zh", 32),
		strings.Repeat("a b", 33):    strings.Repeat("a-ba-ba-b", 11)[:64],
	} {
		got, isKey, err := server.KeyFor(name, "sensor")
		if err != nil || got != want || !isKey {
			t.Errorf("%q: got %q (%v, %v), want %q", name, got, isKey, err, want)
		}
	}
}

func TestKeyFor_AlwaysGivesAKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 100, -1).Draw(t, "name")
		if key, isKey, err := server.KeyFor(name, "gateway"); !isKey || err != nil {
			t.Fatalf("%q: got %q, which is no key (%v)", name, key, err)
		}
	})
}

func TestCreate_WithoutAKey(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	gateway := func(name string) client.Gateway {
		t.Helper()
		res := must(c.CreateGatewayWithResponse(t.Context(), client.GatewayCreate{Name: name}))
		if res.JSON201 == nil {
			t.Fatalf("gateway %q: got %s", name, res.Body)
		}
		return *res.JSON201
	}
	sensor := func(name string, gateway int64) string {
		t.Helper()
		res := must(c.CreateSensorWithResponse(t.Context(),
			client.SensorCreate{Name: name, Type: "temperature", GatewayID: gateway}))
		if res.JSON201 == nil {
			t.Fatalf("sensor %q: got %s", name, res.Body)
		}
		return res.JSON201.Key
	}
	s.addOwn(time.Now())
	first, second, own := gateway("网关 1"), gateway("网关 1"), gateway("oei-ms")
	if first.Key != "wang-guan-1" || second.Key != "wang-guan-1-2" || own.Key != "oei-ms-2" ||
		first.Name != "网关 1" {
		t.Errorf("gateways: got %q, %q and %q", first.Key, second.Key, own.Key)
	}
	got := []string{
		sensor("温度 1", first.ID), sensor("温度 1", second.ID), sensor("温度 1", first.ID),
		sensor("wen-du-1-4", first.ID),
		sensor("温度 1", first.ID), sensor("温度 1", first.ID),
	}
	want := []string{"wen-du-1", "wen-du-1", "wen-du-1-2", "wen-du-1-4", "wen-du-1-3", "wen-du-1-5"}
	if !slices.Equal(got, want) {
		t.Errorf("sensors: got %q, want %q", got, want)
	}
	long := strings.Repeat("x", 70)
	if a, b := sensor(long, first.ID), sensor(long, first.ID); a != long[:64] ||
		b != long[:62]+"-2" {
		t.Errorf("a long name twice: got %q and %q", a, b)
	}
	body := client.SensorCreate{Name: "x", Type: "temperature", GatewayID: 99}
	if res := must(c.CreateSensorWithResponse(t.Context(), body)); res.StatusCode() != 400 {
		t.Errorf("a sensor of no gateway: got %d, want 400", res.StatusCode())
	}
}

func TestCreate_WithoutAKeyAtOnce(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	g := s.addGateway()
	const n = 20
	var gateways, sensors, want [n]string
	var all sync.WaitGroup
	for i := range n {
		want[i] = "pump"
		if i > 0 {
			want[i] = fmt.Sprintf("pump-%d", i+1)
		}
		all.Go(func() {
			res, err := c.CreateGatewayWithResponse(t.Context(),
				client.GatewayCreate{Name: "Pump!"})
			if err != nil || res.JSON201 == nil {
				t.Errorf("gateway: got %v, %s", err, res.Body)
				return
			}
			gateways[i] = res.JSON201.Key
		})
		all.Go(func() {
			body := client.SensorCreate{Name: "Pump!", Type: "state", GatewayID: g.ID}
			res, err := c.CreateSensorWithResponse(t.Context(), body)
			if err != nil || res.JSON201 == nil {
				t.Errorf("sensor: got %v, %s", err, res.Body)
				return
			}
			sensors[i] = res.JSON201.Key
		})
	}
	all.Wait()
	slices.Sort(want[:])
	for _, got := range [][n]string{gateways, sensors} {
		slices.Sort(got[:])
		if got != want {
			t.Errorf("keys: got %q, want %q", got, want)
		}
	}
}
