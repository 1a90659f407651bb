package push

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/internal/redistest"
)

func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// instance is a hub that is told of others by the Redis at url, and reads the alarms of table.
func instance(t *testing.T, url string, sharded bool, table *alarmTable) *world {
	t.Helper()
	reg := prometheus.NewRegistry()
	relay, err := NewRelay(url, sharded, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	w := overTCPWith(t, DefaultConfig(), Deps{Relay: relay, AlarmLog: table.log()})
	w.reg = reg // of the relay
	return w
}

// connected reports whether the instance hears the others.
func (w *world) connected() bool {
	return w.metric("oei_relay_connected", "") == 1
}

func (w *world) awaitRelay() {
	w.t.Helper()
	eventually(w.t, 20*time.Second, "the instance hears others", w.connected)
}

func TestRelayedMessages(t *testing.T) {
	r := &Relay{self: 7}
	rs := []Reading{
		at(1, 5), at(1<<40, -5),
		{
			SensorID:   3,
			GatewayID:  4,
			SensorType: "Wärme",
			Timestamp:  t0,
			Value:      math.Inf(1),
			Quality:    "",
		},
	}
	rs[1].Received = rs[1].Timestamp.Add(-time.Minute) // a clock that runs ahead
	status := Status{GatewayID: 9, Status: "offline", At: t0}
	bodies := map[string][]byte{
		"readings": appendRelayedReadings(r.head(kindReadings), rs),
		"status":   appendRelayedStatus(r.head(kindStatus), status), "alarms": r.head(kindAlarms),
	}
	for name, body := range bodies {
		m, err := parseRelayed(body)
		if err != nil || m.from != 7 {
			t.Errorf("%s: got from %d, error %v", name, m.from, err)
		}
		for i := range m.readings {
			m.readings[i].Timestamp, m.readings[i].Received = m.readings[i].Timestamp.UTC(), m.readings[i].Received.UTC()
		}
		if name == "readings" && !reflect.DeepEqual(m.readings, rs) {
			t.Errorf("got %v, want %v", m.readings, rs)
		}
		if m.status.At = m.status.At.UTC(); name == "status" && m.status != status {
			t.Errorf("got %v, want %v", m.status, status)
		}
		for n := range body {
			if _, err := parseRelayed(body[:n]); err == nil {
				t.Errorf("%s: the first %d bytes are taken for a message", name, n)
			}
		}
		if _, err := parseRelayed(append(body, 0)); err == nil {
			t.Errorf("%s: a byte more is taken for a message", name)
		}
	}
}

func FuzzParseRelayed(f *testing.F) {
	r := &Relay{self: 7}
	f.Add(appendRelayedReadings(r.head(kindReadings), []Reading{at(1, 5), at(2, 6)}))
	f.Add(appendRelayedStatus(r.head(kindStatus), Status{GatewayID: 9, Status: "offline", At: t0}))
	f.Add(r.head(kindAlarms))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseRelayed(b) })
}

// TestRelay has what one instance commits reach the sockets of another, by one Redis, and by a
// cluster with sharded pub/sub.
func TestRelay(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, sharded bool){
		"one server": func(t *testing.T) (string, bool) { return redistest.Start(t).URL(), false },
		"a cluster with sharded pub/sub": func(t *testing.T) (string, bool) {
			r := redistest.Start(t, "--cluster-enabled", "yes")
			out, err := exec.Command("redis-cli", "-p", r.Port(), "cluster", "addslotsrange", "0",
				"16383").CombinedOutput()
			if err != nil {
				t.Fatalf("redis-cli: %v: %s", err, out)
			}
			eventually(t, 10*time.Second, "the cluster is up", func() bool {
				out, _ := exec.Command("redis-cli", "-p", r.Port(), "cluster", "info").CombinedOutput()
				return strings.Contains(string(out), "cluster_state:ok")
			})
			return r.URL(), true
		},
		"a primary that Sentinel names": func(t *testing.T) (string, bool) {
			r := redistest.Start(t)
			file := filepath.Join(t.TempDir(), "sentinel.conf")
			if err := os.WriteFile(file,
				[]byte("sentinel monitor plant 127.0.0.1 "+r.Port()+" 1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return redistest.Start(t, file, "--sentinel").URL() + "?master_set=plant", false
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, sharded := start(t)
			table := newAlarmTable()
			a, b := instance(t, url, sharded, table), instance(t, url, sharded, table)
			a.awaitRelay()
			b.awaitRelay()
			here := a.listener("ann", "gateways/1", "gateways/2", "alarms")
			there := b.listener("bob", "gateways/1", "gateways/2", "alarms")
			r := at(5, 1)
			r.GatewayID = 2
			a.hub.Publish([]Reading{at(1, 1)})
			here.want(string(appendReading(nil, at(1, 1))))
			there.want(string(appendReading(nil, at(1, 1))))
			a.hub.Publish([]Reading{r})
			here.want(string(appendReading(nil, r)))
			there.want(string(appendReading(nil, r)))
			a.hub.PublishStatus(Status{GatewayID: 1, Status: "offline", At: t0})
			here.skip("gateway_status")
			there.skip("gateway_status")
			table.add(1)
			a.hub.AlarmsChanged()
			here.want(alarmFrame(1))
			there.want(alarmFrame(1))
		})
	}
}

// TestRedisAway kills, stops and empties Redis while readings and alarms come.
func TestRedisAway(t *testing.T) {
	redis := redistest.Start(t)
	table := newAlarmTable()
	a, b := instance(t, redis.URL(), false, table), instance(t, redis.URL(), false, table)
	a.awaitRelay()
	b.awaitRelay()
	alarms := b.listener("bob", "alarms").collect()
	here, there := a.listener("ann", "gateways/1").collect(), b.listener("ann", "gateways/1")
	thereFrames := there.collect()
	n := int64(0)
	burst := func() { // with more than can wait
		for range 2 * relayWaiting {
			n++
			a.hub.Publish([]Reading{at(n%100+1, n)})
		}
		table.add(10)
		a.hub.AlarmsChanged()
	}
	local := 0
	for round, away := range []struct{ begin, end func() }{
		{redis.Kill, redis.Run},
		{redis.Pause, redis.Resume},
		{redis.Flush, func() {}},
	} {
		away.begin()
		began := time.Now()
		burst()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("round %d: publishing waited %v", round, took)
		}
		eventually(t, 20*time.Second, "local sockets have the readings", func() bool {
			for len(here) > 0 {
				frame := <-here
				local += len(values(t, frame))
				if strings.Contains(frame, "lagged") {
					var dropped int
					_, _ = fmt.Sscanf(frame, `{"type":"lagged","dropped":%d}`, &dropped)
					local += dropped
				}
			}
			return int64(local) == n
		})
		if round == 1 {
			eventually(t, 20*time.Second, "it is seen that Redis does not answer",
				func() bool { return !b.connected() })
		}
		away.end()
		b.awaitRelay()
		a.awaitRelay()
	}
	eventually(t, 10*time.Second, "every alarm event came",
		func() bool { return len(alarms) == 30 })
	wantContiguous(t, alarms, 0, 30)
	told := 0
	for len(thereFrames) > 0 {
		if strings.Contains(<-thereFrames, `"type":"resync","scope":"readings"`) {
			told++
		}
	}
	if told < 2 {
		t.Errorf("the other instance's client was told of %d holes, want 2 at least", told)
	}
	a.hub.Publish([]Reading{at(1, 1<<20)})
	eventually(t, 10*time.Second, "readings are relayed again", func() bool {
		for len(thereFrames) > 0 {
			if vs := values(t, <-thereFrames); len(vs) == 1 && vs[0] == 1<<20 {
				return true
			}
		}
		return false
	})
}

func TestARelayWithoutRedisStartsLater(t *testing.T) {
	redis := redistest.Start(t)
	redis.Kill()
	table := newAlarmTable()
	a := instance(t, redis.URL(), false, table)
	c := a.listener("ann", "gateways/1")
	a.hub.Publish([]Reading{at(1, 1)})
	c.skip("sensor_data")
	redis.Run()
	a.awaitRelay()
}
