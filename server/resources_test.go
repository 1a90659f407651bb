package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/store"
)

func TestGatewayFromCreationToDeletion(t *testing.T) {
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

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFreeObjectsHaveALimit(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	big := strings.Repeat("x", 17<<10)
	if res := must(c.CreateGatewayWithResponse(t.Context(),
		client.GatewayCreate{Key: new("a"), Name: "x", Metadata: &client.Metadata{"x": big}})); res.StatusCode() != 400 ||
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

func TestSensorRangeAndItsGateway(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	g := s.addGateway()
	number := nullable.NewNullableWithValue[float64]
	fresh := func(f func(*client.SensorCreate)) *client.CreateSensorResponse {
		body := client.SensorCreate{
			Key:       new("temp"),
			Name:      "x",
			Type:      "temperature",
			GatewayID: g.ID,
		}
		f(&body)
		return must(c.CreateSensorWithResponse(ctx, body))
	}
	if res := fresh(func(b *client.SensorCreate) { b.GatewayID = 99 }); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "gateway_id" {
		t.Errorf("of a gateway that is none: got %s", res.Body)
	}
	if res := fresh(func(b *client.SensorCreate) { b.MinValue, b.MaxValue = number(2), number(1) }); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "min_value" {
		t.Errorf("min above max: got %s", res.Body)
	}
	made := fresh(func(b *client.SensorCreate) { b.MinValue, b.MaxValue = number(-40), number(200) })
	if made.StatusCode() != 201 {
		t.Fatalf("create: got %s", made.Body)
	}
	if res := fresh(func(*client.SensorCreate) {}); res.StatusCode() != 409 ||
		res.ApplicationProblemJSON409.Errors[0].Field != "key" {
		t.Errorf("the key again: got %s", res.Body)
	}
	id := made.JSON201.ID
	if res := must(c.UpdateSensorWithResponse(ctx, id, nil,
		client.SensorUpdate{MaxValue: number(-41)})); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "max_value" {
		t.Errorf("max below min: got %s", res.Body)
	}
	if res := must(c.UpdateSensorWithResponse(ctx, id, nil, client.SensorUpdate{Name: new("y")})); res.JSON200.MinValue.MustGet() != -40 {
		t.Errorf("min_value left out: got %s", res.Body)
	}
	if res := must(c.UpdateSensorWithResponse(ctx, id, nil,
		client.SensorUpdate{MinValue: nullable.NewNullNullable[float64]()})); !res.JSON200.MinValue.IsNull() ||
		res.JSON200.MaxValue.MustGet() != 200 {
		t.Errorf("min_value null: got %s", res.Body)
	}
}

func TestRetentionOfASensor(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	g := s.addGateway()
	made := must(c.CreateSensorWithResponse(ctx, client.SensorCreate{
		Key:           new("temp"),
		Name:          "x",
		Type:          "temperature",
		GatewayID:     g.ID,
		RetentionDays: nullable.NewNullableWithValue(30),
	}))
	if made.StatusCode() != 201 || made.JSON201.RetentionDays.MustGet() != 30 {
		t.Fatalf("create: got %s", made.Body)
	}
	for name, tt := range map[string]struct {
		change client.SensorUpdate
		want   nullable.Nullable[int]
	}{
		"0 is for ever": {
			client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(0)},
			nullable.NewNullableWithValue(0),
		},
		"null is the default": {
			client.SensorUpdate{RetentionDays: nullable.NewNullNullable[int]()},
			nullable.NewNullNullable[int](),
		},
		"what is left out stays as is": {
			client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(7), Name: new("y")},
			nullable.NewNullableWithValue(7),
		},
	} {
		if res := must(c.UpdateSensorWithResponse(ctx, made.JSON201.ID, nil, tt.change)); res.JSON200 == nil || !reflect.DeepEqual(res.JSON200.RetentionDays, tt.want) {
			t.Errorf("%s: got %s", name, res.Body)
		}
		if res := must(c.UpdateSensorWithResponse(ctx, made.JSON201.ID, nil,
			client.SensorUpdate{Name: new("z")})); !reflect.DeepEqual(res.JSON200.RetentionDays,
			tt.want) {
			t.Errorf("%s, and then another change: got %s", name, res.Body)
		}
	}
	if res := must(c.UpdateSensorWithResponse(ctx, made.JSON201.ID, nil,
		client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(-1)})); res.StatusCode() != 400 ||
		res.ApplicationProblemJSON400.Errors[0].Field != "retention_days" {
		t.Errorf("-1: got %s", res.Body)
	}
}

func TestRetentionTellsBeforehand(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	ctx := t.Context()
	v := s.addSensor(s.addGateway().ID)
	year, month, _ := time.Now().UTC().Date()
	long := time.Date(year, month-12, 1, 12, 0, 0, 0, time.UTC)
	rs := make([]store.Reading, 8) // each in a partition of its month
	for i := range rs {
		rs[i] = store.Reading{
			SensorID:  v.ID,
			Timestamp: long.AddDate(0, i, 0),
			Received:  long,
			Value:     1,
		}
	}
	if _, err := s.store.Write(ctx, rs, store.SideWrites{}); err != nil {
		t.Fatal(err)
	}
	if res := must(c.PreviewRetentionWithResponse(ctx, nil)); res.JSON200 == nil ||
		len(*res.JSON200) != 0 {
		t.Errorf("kept for ever: got %s", res.Body)
	}
	must(c.UpdateSensorWithResponse(ctx, v.ID, nil,
		client.SensorUpdate{RetentionDays: nullable.NewNullableWithValue(50)}))
	var all []client.ExpiringPartition
	for path := "/api/data/retention?limit=5"; path != ""; {
		res := s.send("GET", path, s.token(s.users[store.Engineer]), "")
		var page []client.ExpiringPartition
		if err := json.Unmarshal(res.body, &page); err != nil {
			t.Fatalf("%s: %v", res.body, err)
		}
		all = append(all, page...)
		path, _, _ = strings.Cut(strings.TrimPrefix(res.Header.Get("Link"), "<"), ">")
	}
	if len(all) != 8 {
		t.Fatalf("got %d partitions, want 8", len(all))
	}
	e := all[0]
	if !e.IsDropped ||
		e.Partition != "sensor_data_"+long.Format("200601")+"01_"+long.AddDate(0, 1, 0).Format(
			"200601",
		)+"01" || len(e.Sensors) != 1 ||
		e.Sensors[0].SensorID != v.ID || e.Sensors[0].RetentionSeconds != 50*86400 {
		t.Errorf("got %+v", e)
	}
}

func TestOfManyChangesWithOneETagOneIsMade(t *testing.T) {
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

func TestDeletionSaysWhatGoesAndAsksForTheWordCascade(t *testing.T) {
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
		&client.DeleteGatewayParams{Cascade: new(true)})); res.StatusCode() != 200 || res.JSON200.DryRun {
		t.Errorf("with cascade: got %s", res.Body)
	}
	if res := must(c.ListSensorsWithResponse(ctx, nil)); len(*res.JSON200) != 0 {
		t.Errorf("sensors after it: got %s", res.Body)
	}
}

func TestThirdSecretRevokesTheFirst(t *testing.T) {
	s := start(t)
	c := s.as(store.Engineer)
	g := s.addGateway()
	var made []*client.CredentialWithSecret
	for range 3 {
		res := must(c.CreateCredentialWithResponse(t.Context(), g.ID))
		if res.JSON201 == nil || res.JSON201.ClientID != g.Key || res.JSON201.Username != g.Key ||
			!strings.HasPrefix(res.JSON201.Secret, "gw_") {
			t.Fatalf("got %s", res.Body)
		}
		if res.HTTPResponse.Header.Get("Cache-Control") != "no-store" {
			t.Error("the secret may be cached")
		}
		made = append(made, res.JSON201)
	}
	if !made[1].RevokedID.IsNull() || made[2].RevokedID.MustGet() != made[0].ID {
		t.Errorf("revoked: got %v and %v, want none and %d", made[1].RevokedID, made[2].RevokedID,
			made[0].ID)
	}
	if res := must(c.RevokeCredentialWithResponse(t.Context(), g.ID, made[1].ID)); res.StatusCode() != 204 {
		t.Errorf("revoke: got %d", res.StatusCode())
	}
	list := must(c.ListCredentialsWithResponse(t.Context(), g.ID))
	if l := *list.JSON200; len(l) != 1 || l[0].ID != made[2].ID ||
		strings.Contains(string(list.Body), "gw_") {
		t.Errorf("in force: got %s", list.Body)
	}
	for i, want := range []bool{false, false, true} {
		if _, err := s.store.Login(t.Context(), g.Key, made[i].Secret); (err == nil) != want {
			t.Errorf("secret %d lets in: got %v, want %v", i+1, err == nil, want)
		}
	}
}

// pages follows Link to the end, as the user with the role, and returns the rows of each page as
// JSON.
func (s *system) pages(role store.Role, path string) (rows []json.RawMessage, pages int) {
	s.t.Helper()
	token := s.token(s.users[role])
	for path != "" {
		res := s.send("GET", path, token, "")
		var page []json.RawMessage
		if err := json.Unmarshal(res.body, &page); err != nil {
			s.t.Fatalf("%s: %v: %s", path, err, res.body)
		}
		rows = append(rows, page...)
		pages++
		path = ""
		if link := res.Header.Get("Link"); link != "" {
			target, rel, _ := strings.Cut(link, ">; ")
			path = strings.TrimPrefix(target, "<")
			if u, err := url.Parse(path); err != nil || rel != `rel="next"` || u.IsAbs() {
				s.t.Fatalf("Link: got %s", link)
			}
		}
	}
	return rows, pages
}

func TestPagesHoldEveryRowOnceAndKeepTheFilter(t *testing.T) {
	s := start(t)
	g, other := s.addGateway(), s.addGateway()
	var ids []int64
	for range 7 {
		ids = append(ids, s.addSensor(g.ID).ID)
		s.addSensor(other.ID)
	}
	end := time.Now().UTC().Truncate(time.Second)
	for _, id := range ids[:3] {
		s.addReadings(id, 5, end)
	}
	sensors := fmt.Sprintf("sensor_id=%d&sensor_id=%d&sensor_id=%d", ids[0], ids[1], ids[2])
	tests := []struct {
		path        string
		rows, pages int
	}{
		{"/api/gateways?limit=1", 2, 2},
		{"/api/gateways?limit=2", 2, 1},
		{"/api/gateways?limit=1&status=online", 0, 1},
		{
			fmt.Sprintf("/api/sensors?limit=3&gateway_id=%d&is_active=true&type=temperature", g.ID),
			7, 3,
		},
		{"/api/sensors", 14, 1},
		{"/api/data?limit=4&" + sensors, 15, 4},
		{"/api/data?limit=4&order=asc&" + sensors, 15, 4},
		{"/api/data?limit=1&quality=good&" + sensors, 15, 15},
		{"/api/data?limit=1&quality=bad&" + sensors, 0, 1},
		{
			"/api/data?limit=2&" + sensors + "&start=" +
				url.QueryEscape(end.Add(-2*time.Second).Format(time.RFC3339)) + "&end=" +
				end.Format(time.RFC3339),
			6, 3,
		},
		{"/api/data/latest?limit=2", 3, 2},
		{fmt.Sprintf("/api/data/latest?limit=1&gateway_id=%d&sensor_id=%d", g.ID, ids[0]), 1, 1},
		{fmt.Sprintf("/api/data/latest?gateway_id=%d", other.ID), 0, 1},
	}
	for _, test := range tests {
		rows, pages := s.pages(store.Viewer, test.path)
		seen := map[string]bool{}
		for _, r := range rows {
			seen[string(r)] = true
		}
		if len(rows) != test.rows || len(seen) != test.rows || pages != test.pages {
			t.Errorf("%s: got %d rows (%d different) on %d pages, want %d on %d", test.path,
				len(rows), len(seen), pages, test.rows, test.pages)
		}
	}
	res := s.send("GET", "/api/sensors?limit=2&count=true", s.token(s.users[store.Viewer]), "")
	if got := res.Header.Get("X-Total-Count"); got != "14" {
		t.Errorf("X-Total-Count: got %q, want 14", got)
	}
	if res := s.send("GET", "/api/sensors?limit=2", s.token(s.users[store.Viewer]), ""); res.Header.Get("X-Total-Count") != "" {
		t.Error("X-Total-Count is sent unasked")
	}
}

func TestDataIsReadInOrder(t *testing.T) {
	s := start(t)
	g := s.addGateway()
	a, b := s.addSensor(g.ID), s.addSensor(g.ID)
	end := time.Now().UTC().Truncate(time.Second)
	s.addReadings(a.ID, 2, end)
	s.addReadings(b.ID, 2, end)
	c := s.as(store.Viewer)
	for order, want := range map[client.SortOrder]string{
		"desc": "1@0 2@0 1@-1 2@-1", "asc": "1@-1 2@-1 1@0 2@0",
	} {
		res := must(c.ListReadingsWithResponse(t.Context(),
			&client.ListReadingsParams{SensorID: []int64{b.ID, a.ID, a.ID}, Order: &order}))
		var got []string
		for _, r := range *res.JSON200 {
			got = append(got, fmt.Sprintf("%d@%d", r.SensorID, int(r.Timestamp.Sub(end).Seconds())))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", order, got, want)
		}
	}
	for path, field := range map[string]string{
		"/api/data?sensor_id=99": "sensor_id", "/api/data": "sensor_id",
		"/api/data/latest?sensor_id=99":                                             "sensor_id",
		"/api/data?sensor_id=1&start=2026-01-02T00:00:00Z&end=2026-01-01T00:00:00Z": "end",
	} {
		if res := s.send("GET", path, s.token(s.users[store.Viewer]), ""); res.StatusCode != 400 ||
			!names(res, field) {
			t.Errorf("%s: got %d: %s", path, res.StatusCode, res.body)
		}
	}
}

func TestWrittenReadingsAreWhatTheContractSays(t *testing.T) {
	s := start(t)
	v := s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	write := func(reading string) client.ReadingsWriteResult {
		t.Helper()
		res := s.send("POST", "/api/data", token,
			fmt.Sprintf(`{"readings":[{"sensor_id":%d,%s}]}`, v.ID, reading))
		var w client.ReadingsWriteResult
		if err := json.Unmarshal(res.body, &w); err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: got %d: %s", reading, res.StatusCode, res.body)
		}
		return w
	}
	at := func(second int) string {
		return fmt.Sprintf(`"timestamp":"2026-11-01T00:00:%02d.1234567+01:00"`, second)
	}
	write(at(1) + `,"value":1.5`)
	write(at(2) + `,"value":null`)
	write(at(3) + `,"value":3,"quality":"uncertain"`)
	write(at(4) + `,"value":4,"status_code":2147483648`)
	write(at(5) + `,"value":null,"quality":"good"`)
	if w := write(at(1) + `,"value":1.5`); w.Duplicates != 1 || w.Results[0].Status != "duplicate" {
		t.Errorf("again: got %+v", w)
	}
	if w := write(at(1) + `,"value":2`); w.Conflicts != 1 || w.Results[0].Status != "conflict" {
		t.Errorf("another value: got %+v", w)
	}
	before := time.Now().Add(-time.Second)
	if w := write(`"value":6`); w.Stored != 1 {
		t.Errorf("without a time: got %+v", w)
	}
	order := client.SortOrder("asc")
	res := must(s.as(store.Viewer).ListReadingsWithResponse(t.Context(),
		&client.ListReadingsParams{SensorID: []int64{v.ID}, Order: &order}))
	want := []string{"1.5 good", "null bad", "3 uncertain", "4 bad", "null bad", "6 good"}
	for i, r := range *res.JSON200 {
		value := "null"
		if !r.Value.IsNull() {
			value = fmt.Sprint(r.Value.MustGet())
		}
		if got := value + " " + string(r.Quality); got != want[i] {
			t.Errorf("reading %d: got %s, want %s", i+1, got, want[i])
		}
	}
	first, last := (*res.JSON200)[0].Timestamp, (*res.JSON200)[5].Timestamp
	if got := first.Format(time.RFC3339Nano); got != "2026-10-31T23:00:01.123456Z" {
		t.Errorf("timestamp: got %s", got)
	}
	if last.Before(before) || last.After(time.Now()) {
		t.Errorf("a reading without a time is of %v", last)
	}
	latest := must(s.as(store.Viewer).ListLatestReadingsWithResponse(t.Context(), nil))
	if l := *latest.JSON200; len(l) != 1 || l[0].GatewayID != v.GatewayID ||
		!l[0].Timestamp.Equal(last) {
		t.Errorf("latest: got %s", latest.Body)
	}
}
