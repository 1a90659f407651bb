package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestGateway_FromCreationToDeletion(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	made, err := c.CreateGatewayWithResponse(ctx,
		client.GatewayCreate{
			Key:      new("press-1"),
			Name:     "Press",
			Metadata: &client.Metadata{"plc": "S7", "n": 3},
		})
	if err != nil || made.JSON201 == nil {
		t.Fatalf("create: got %v, %v", made, err)
	}
	id := made.JSON201.ID
	if got := made.HTTPResponse.Header.Get("Location"); got != fmt.Sprintf("/api/gateways/%d", id) {
		t.Errorf("Location: got %q", got)
	}
	if made.JSON201.Status != client.GatewayStatusUnknown || !made.JSON201.IsActive ||
		made.JSON201.Metadata["plc"] != "S7" {
		t.Errorf("created: got %s", made.Body)
	}
	if again, _ := c.CreateGatewayWithResponse(ctx,
		client.GatewayCreate{Key: new("press-1"), Name: "x"}); again.StatusCode() != 409 ||
		again.ApplicationProblemJSON409.Errors[0].Field != "key" {
		t.Errorf("the key again: got %s", again.Body)
	}
	other, _ := c.CreateGatewayWithResponse(ctx,
		client.GatewayCreate{Key: new("press-2"), Name: "x"})
	if res, _ := c.UpdateGatewayWithResponse(ctx, other.JSON201.ID, nil,
		client.GatewayUpdate{Key: new("press-1")}); res.StatusCode() != 409 {
		t.Errorf("the key of another: got %s", res.Body)
	}
	changed, err := c.UpdateGatewayWithResponse(ctx, id, nil,
		client.GatewayUpdate{Location: new("Hall 3"), IsActive: new(false)})
	if err != nil || changed.JSON200 == nil || changed.JSON200.Location != "Hall 3" ||
		changed.JSON200.Name != "Press" || changed.JSON200.IsActive {
		t.Errorf("changed: got %s, %v", changed.Body, err)
	}
	if res, _ := c.DeleteGatewayWithResponse(ctx, id, nil); res.StatusCode() != 200 ||
		res.JSON200.Gateways != 1 {
		t.Errorf("delete: got %s", res.Body)
	}
	for name, status := range map[string]int{
		"get": must(c.GetGatewayWithResponse(ctx, id)).StatusCode(),
		"update": must(c.UpdateGatewayWithResponse(ctx, id, nil,
			client.GatewayUpdate{Name: new("x")})).StatusCode(),
		"delete":      must(c.DeleteGatewayWithResponse(ctx, id, nil)).StatusCode(),
		"credentials": must(c.ListCredentialsWithResponse(ctx, id)).StatusCode(),
		"new secret":  must(c.CreateCredentialWithResponse(ctx, id)).StatusCode(),
		"revoke":      must(c.RevokeCredentialWithResponse(ctx, id, 1)).StatusCode(),
	} {
		if status != http.StatusNotFound {
			t.Errorf("%s after the deletion: got %d, want 404", name, status)
		}
	}
}

func TestFreeObjects_AreBounded(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	big := strings.Repeat("x", 17<<10)
	if res := must(c.CreateGatewayWithResponse(t.Context(),
		client.GatewayCreate{
			Key: new("a"), Name: "x", Metadata: &client.Metadata{"x": big},
		})); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "metadata" {
		t.Errorf("17 KiB of metadata: got %.200s", res.Body)
	}
	res := must(c.CreateSensorWithResponse(t.Context(),
		client.SensorCreate{
			Key:       new("a"),
			Name:      "x",
			Type:      "x",
			GatewayID: s.addGateway().ID,
			Tags:      &client.Tags{big: "x"},
		}))
	if res.StatusCode() != 400 || res.ApplicationProblemJSON400.Errors[0].Field != "tags" {
		t.Errorf("17 KiB of tags: got %.200s", res.Body)
	}
}

func TestUpdates_WithOneETagOneSucceeds(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	token := s.token(s.users[store.Engineer])
	path := fmt.Sprintf("/api/gateways/%d", g.ID)
	tag := s.send("GET", path, token, "").Header.Get("ETag")
	var mu sync.Mutex
	statuses := map[int]int{}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			res := s.send("PUT", path, token, fmt.Sprintf(`{"name":"n%d"}`, i), "If-Match", tag)
			mu.Lock()
			statuses[res.StatusCode]++
			mu.Unlock()
		})
	}
	all.Wait()
	if statuses[200] != 1 || statuses[412] != 19 {
		t.Errorf("got %v, want one 200 and 19 412", statuses)
	}
	if res := s.send("DELETE", path, token, "", "If-Match", tag); res.StatusCode != 412 {
		t.Errorf("delete with the old tag: got %d, want 412", res.StatusCode)
	}
	tag = s.send("GET", path, token, "").Header.Get("ETag")
	if res := s.send("DELETE", path, token, "", "If-Match", tag); res.StatusCode != 200 {
		t.Errorf("delete with the new tag: got %d: %s", res.StatusCode, res.body)
	}
	if res := s.send("PUT", path, token, `{"name":"x"}`, "If-Match", tag); res.StatusCode != 404 {
		t.Errorf("change of what is gone: got %d, want 404", res.StatusCode)
	}
}

func TestDelete_PreviewsAndNeedsCascade(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	g := s.addGateway()
	end := time.Now().UTC().Truncate(time.Second)
	for range 3 {
		s.addReadings(s.addSensor(g.ID).ID, 5, end)
	}
	dry := must(c.DeleteGatewayWithResponse(ctx, g.ID,
		&client.DeleteGatewayParams{DryRun: new(true)}))
	if d := dry.JSON200; d == nil || !d.DryRun || d.Gateways != 1 || d.Sensors != 3 ||
		!d.LastReadingAt.MustGet().Equal(end) ||
		!d.FirstReadingAt.MustGet().Equal(end.Add(-4*time.Second)) {
		t.Errorf("dry run: got %s", dry.Body)
	}
	if res := must(c.DeleteGatewayWithResponse(ctx, g.ID, nil)); res.StatusCode() != 409 ||
		!strings.Contains(res.ApplicationProblemJSON409.Detail, "cascade") {
		t.Errorf("without cascade: got %s", res.Body)
	}
	if res := must(c.GetGatewayWithResponse(ctx, g.ID)); res.StatusCode() != 200 {
		t.Errorf("after both: got %d", res.StatusCode())
	}
	if res := must(c.DeleteGatewayWithResponse(ctx, g.ID,
		&client.DeleteGatewayParams{Cascade: new(true)})); res.StatusCode() != 200 ||
		res.JSON200.DryRun {
		t.Errorf("with cascade: got %s", res.Body)
	}
	if res := must(c.ListSensorsWithResponse(ctx, nil)); len(*res.JSON200) != 0 {
		t.Errorf("sensors after it: got %s", res.Body)
	}
}
