package relay

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/redistest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/push"
)

// TestRelay_ReachesSocketsOfAnotherInstance uses one Redis, a cluster with sharded pub/sub, and
// Sentinel.
func TestRelay_ReachesSocketsOfAnotherInstance(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (url string, sharded bool){
		"one server": func(t *testing.T) (string, bool) { return redistest.Start(t).URL(), false },
		"a cluster with sharded pub/sub": func(t *testing.T) (string, bool) {
			r := redistest.Start(t, "--cluster-enabled", "yes")
			out, err := exec.Command("redis-cli", "-p", r.Port(), "cluster", "addslotsrange", "0",
				"16383").CombinedOutput()
			if err != nil {
				t.Fatalf("redis-cli: %v: %s", err, out)
			}
			testutil.Eventually(t, testutil.Timeout, "the cluster is up", func() bool {
				info := exec.Command("redis-cli", "-p", r.Port(), "cluster", "info")
				out, _ := info.CombinedOutput()
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
			table := new(alarmTable)
			a, b := startInstance(t, url, sharded, table), startInstance(t, url, sharded, table)
			a.awaitConnected()
			b.awaitConnected()
			here := a.subscribe("gateways/1", "gateways/2", "alarms")
			there := b.subscribe("gateways/1", "gateways/2", "alarms")
			want := func(part string) {
				t.Helper()
				if frame := next(t, here); !strings.Contains(frame, part) {
					t.Errorf("the same instance sent %s, want %s", frame, part)
				} else if other := next(t, there); other != frame {
					t.Errorf("the other instance sent %s, want %s", other, frame)
				}
			}
			a.publish(reading(1, 1))
			want(`{"type":"sensor_data","sensor_id":1,"data":{"value":1,`)
			r := reading(5, 1)
			r.GatewayID = 2
			a.publish(r)
			want(`{"type":"sensor_data","sensor_id":5,"data":{"value":1,`)
			a.publishStatus(push.Status{GatewayID: 1, Status: "offline", At: t0})
			want(`{"type":"gateway_status","gateway_id":1,"status":"offline",`)
			table.add(1)
			a.alarmsChanged()
			want(`{"type":"alarm","epoch":"e","offset":1,"event":{"n":1}}`)
		})
	}
}

// TestRelay_RecoversWhenRedisReturns kills, stops and empties Redis while readings and alarms are
// published.
func TestRelay_RecoversWhenRedisReturns(t *testing.T) {
	redis := redistest.Start(t)
	table := new(alarmTable)
	a := startInstance(t, redis.URL(), false, table)
	b := startInstance(t, redis.URL(), false, table)
	a.awaitConnected()
	b.awaitConnected()
	alarms := b.subscribe("alarms")
	here, there := a.subscribe("gateways/1"), b.subscribe("gateways/1")
	n := int64(0)
	burst := func() { // more messages than the queue holds
		for range 2 * queueSize {
			n++
			a.publish(reading(n%100+1, n))
		}
		table.add(10)
		a.alarmsChanged()
	}
	local := int64(0)
	for i, outage := range []struct{ begin, end func() }{
		{redis.Kill, redis.Run},
		{redis.Pause, redis.Resume},
		{redis.Flush, func() {}},
	} {
		outage.begin()
		began := time.Now()
		burst()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("outage %d: publishing waited %v", i, took)
		}
		testutil.Eventually(t, testutil.Timeout, "local sockets have the readings", func() bool {
			for len(here) > 0 {
				local += countReadings(<-here)
			}
			return local == n
		})
		if i == 1 {
			testutil.Eventually(t, testutil.Timeout, "the other instance notices the outage",
				func() bool { return !b.connected() })
		}
		outage.end()
		b.awaitConnected()
		a.awaitConnected()
	}
	for offset := range 30 {
		want := fmt.Sprintf(`"offset":%d,`, offset+1)
		if frame := next(t, alarms); !strings.Contains(frame, want) {
			t.Fatalf("got %s, want %s", frame, want)
		}
	}
	resyncs := 0
	for len(there) > 0 {
		if strings.Contains(<-there, `"type":"resync","scope":"readings"`) {
			resyncs++
		}
	}
	if resyncs < 2 {
		t.Errorf("the other instance's client got %d resync frames, want at least 2", resyncs)
	}
	a.publish(reading(1, 1<<20))
	testutil.Eventually(t, testutil.Timeout, "readings are relayed again", func() bool {
		for len(there) > 0 {
			if v, ok := value(<-there); ok && v == 1<<20 {
				return true
			}
		}
		return false
	})
}

// countReadings returns how many readings a frame carries or says were dropped.
func countReadings(frame string) (n int64) {
	if _, ok := value(frame); ok {
		return 1
	}
	_, _ = fmt.Sscanf(frame, `{"type":"lagged","dropped":%d}`, &n)
	return n
}

func TestRelay_ConnectsOnceRedisStarts(t *testing.T) {
	redis := redistest.Start(t)
	redis.Kill()
	a := startInstance(t, redis.URL(), false, new(alarmTable))
	frames := a.subscribe("gateways/1")
	a.publish(reading(1, 1))
	if frame := next(t, frames); !strings.Contains(frame, `"sensor_data"`) {
		t.Errorf("got %s, want sensor_data", frame)
	}
	redis.Run()
	a.awaitConnected()
}
