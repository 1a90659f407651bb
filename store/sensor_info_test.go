package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

func TestSensorInfos(t *testing.T) {
	s := open(t)
	a, b := addGateway(t, s, "a"), addGateway(t, s, "b")
	a1, b1 := addSensor(t, s, a.ID, "s1"), addSensor(t, s, b.ID, "s1")
	numbered := addGateway(t, s, fmt.Sprint(b.ID)) // its key is b's id
	n1 := addSensor(t, s, numbered.ID, fmt.Sprint(b1.ID))
	mac := addGateway(t, s, "00:1b:44:11:3a:b7")
	imei := addSensor(t, s, mac.ID, "356938035643809")
	off := addSensor(t, s, a.ID, "off")
	_, err := s.UpdateSensor(t.Context(), off.ID, 0, store.SensorChange{IsActive: ptr(false)})
	ok(t, err)
	id := func(v int64) string { return fmt.Sprint(v) }
	tests := map[string]struct {
		ref  store.Ref
		want string // gateway, owner, sensor, active
	}{
		"keys": {
			store.Ref{Gateway: "a", Sensor: "s1"}, fmt.Sprint(a.ID, a.ID, a1.ID, true),
		},
		"ids": {
			store.Ref{Gateway: id(a.ID), Sensor: id(a1.ID)}, fmt.Sprint(a.ID, a.ID, a1.ID, true),
		},
		"a key and an id": {
			store.Ref{Gateway: "b", Sensor: id(b1.ID)}, fmt.Sprint(b.ID, b.ID, b1.ID, true),
		},
		"another gateway's sensor": {
			store.Ref{Gateway: "a", Sensor: id(b1.ID)}, fmt.Sprint(a.ID, b.ID, b1.ID, true),
		},
		"no such sensor": {
			store.Ref{Gateway: "a", Sensor: "s2"}, fmt.Sprint(a.ID, 0, 0, true),
		},
		"a gateway":           {store.Ref{Gateway: "a"}, fmt.Sprint(a.ID, 0, 0, true)},
		"no such gateway":     {store.Ref{Gateway: "A", Sensor: "s1"}, ""},
		"an invalid id":       {store.Ref{Gateway: "0" + id(a.ID), Sensor: "s1"}, ""},
		"a number beyond ids": {store.Ref{Gateway: "99999999999", Sensor: "s1"}, ""},
		"keys that are addresses": {
			store.Ref{Gateway: "00:1b:44:11:3a:b7", Sensor: "356938035643809"},
			fmt.Sprint(mac.ID, mac.ID, imei.ID, true),
		},
		"a sensor out of use": {
			store.Ref{Gateway: "a", Sensor: "off"}, fmt.Sprint(a.ID, a.ID, off.ID, false),
		},
		"a key goes before an id": {
			store.Ref{Gateway: id(b.ID)}, fmt.Sprint(numbered.ID, 0, 0, true),
		},
		"a sensor's key goes before it": {
			store.Ref{Gateway: id(b.ID), Sensor: id(b1.ID)},
			fmt.Sprint(numbered.ID, numbered.ID, n1.ID, true),
		},
	}
	var refs []store.Ref
	for _, tt := range tests {
		refs = append(refs, tt.ref)
	}
	points, err := s.SensorInfos(t.Context(), refs)
	ok(t, err)
	for name, tt := range tests {
		got := ""
		if p, known := points[tt.ref]; known {
			got = fmt.Sprint(p.GatewayID, p.OwnerID, p.SensorID, p.IsActive)
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	for key, want := range map[string]bool{
		"00:1b:44:11:3a:b7": true, "00:1b:44:11:3a": false, "off": false,
	} {
		if found, err := s.HasGateway(t.Context(), []string{"nothing", key}); found != want ||
			err != nil {
			t.Errorf("a gateway with the key %s: got %t, %v, want %t", key, found, err, want)
		}
	}
	if points, err := s.SensorInfos(t.Context(), nil); len(points) != 0 || err != nil {
		t.Errorf("of nothing: got %v, %v", points, err)
	}

	_, err = s.UpdateGateway(t.Context(), a.ID, 0, store.GatewayChange{IsActive: ptr(false)})
	ok(t, err)
	byID, err := s.SensorInfosByID(t.Context(), []int64{a1.ID, b1.ID, b1.ID, 999, 1 << 40})
	ok(t, err)
	if len(byID) != 2 || byID[a1.ID].IsActive || !byID[b1.ID].IsActive ||
		byID[b1.ID].GatewayKey != "b" || byID[b1.ID].OwnerID != b.ID {
		t.Errorf("by id: got %+v", byID)
	}
}

// watch runs Watch for the time of the test and returns what it says.
func watch(t *testing.T, s *store.Store) <-chan int64 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan int64, 100), make(chan error, 1)
	go func() { ended <- s.ListenCatalog(ctx, func(gateway int64) { changed <- gateway }) }()
	t.Cleanup(func() {
		cancel()
		isError(t, <-ended, nil)
	})
	return changed
}

// next waits for the next change.
func next(t *testing.T, changed <-chan int64) int64 {
	t.Helper()
	select {
	case id := <-changed:
		return id
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was said")
		return 0
	}
}

func TestListenCatalog(t *testing.T) {
	s, db := openRaw(t)
	a := addGateway(t, s, "a")
	doomed := addGateway(t, s, "doomed")
	v := addSensor(t, s, a.ID, "s")
	changed := watch(t, s)
	if got := next(t, changed); got != 0 {
		t.Errorf("at first: got %d, want 0", got)
	}
	var credential int64
	steps := []struct {
		name string
		do   func() error
		want int64
	}{
		{"a sensor is added", func() error { addSensor(t, s, a.ID, "new"); return nil }, a.ID},
		{"a sensor is changed", func() error {
			_, err := s.UpdateSensor(t.Context(), v.ID, 0, store.SensorChange{Key: ptr("k")})
			return err
		}, a.ID},
		{
			"a sensor is deleted",
			func() error { _, err := s.DeleteSensor(t.Context(), v.ID, 0, false); return err },
			a.ID,
		},
		{"a gateway is renamed", func() error {
			_, err := s.UpdateGateway(t.Context(), a.ID, 0, store.GatewayChange{Key: ptr("b")})
			return err
		}, a.ID},
		{"a gateway is put out of use", func() error {
			_, err := s.UpdateGateway(t.Context(), a.ID, 0,
				store.GatewayChange{IsActive: ptr(false)})
			return err
		}, a.ID},
		{"a credential is revoked", func() error {
			c, _, _, err := s.AddCredential(t.Context(), a.ID, "x")
			ok(t, err)
			credential = c.ID
			return s.RevokeCredential(t.Context(), a.ID, credential)
		}, a.ID},
		{
			"a gateway is deleted",
			func() error {
				_, err := s.DeleteGateway(t.Context(), doomed.ID, 0, false,
					false)
				return err
			},
			doomed.ID,
		},
		{
			"a gateway takes a number as its key",
			func() error { addGateway(t, s, "12"); return nil }, 0,
		},
		{"the connection is lost and found", func() error {
			_, err := db.Exec(`
				SELECT pg_terminate_backend(pid)
				FROM pg_stat_activity
				WHERE query = 'LISTEN "catalog"'`)
			return err
		}, 0},
		{"presence says nothing, the next thing does", func() error {
			must(s.SetPresence(t.Context(),
				[]store.Presence{{GatewayID: a.ID, Status: "online", At: noon}}))
			addSensor(t, s, a.ID, "last")
			return nil
		}, a.ID},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := next(t, changed); got != step.want {
			t.Errorf("%s: got %d, want %d", step.name, got, step.want)
		}
	}
	select {
	case id := <-changed:
		t.Errorf("more was said: %d", id)
	default:
	}
}
