package server_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/gen/client"
	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/server"
	"github.com/oei-ms/oei-ms/store"
)

// at3 is an instant that readings of these tests are of.
var at3 = time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC)

// written is the answer to a write with key: its status, whether it was an answer of before, and
// the body.
func written(
	t *testing.T, c *client.ClientWithResponses, key string, value float64,
) (int, bool, []byte) {
	t.Helper()
	res := must(c.WriteReadingsWithResponse(t.Context(),
		&client.WriteReadingsParams{IdempotencyKey: &key},
		client.ReadingsWriteRequest{
			Readings: []client.ReadingCreate{
				{SensorID: 1, Timestamp: &at3, Value: nullable.NewNullableWithValue(value)},
			},
		}))
	return res.StatusCode(), res.HTTPResponse.Header.Get("Idempotency-Replayed") == "true", res.Body
}

func TestIdempotency_SameKeySameAnswer(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	one, two := startOn(t, dsn), startOn(t, dsn)
	one.addSensor(one.addGateway().ID)
	here, there := one.as(store.Engineer), two.as(store.Engineer)
	status, replayed, first := written(t, here, "k", 1)
	if status != 200 || replayed || !bytes.Contains(first, []byte(`"stored":1`)) {
		t.Fatalf("the first time: got %d, %v: %s", status, replayed, first)
	}
	for name, c := range map[string]*client.ClientWithResponses{
		"again": here, "in another session": one.as(store.Engineer), "at another instance": there,
	} {
		if status, replayed, body := written(t, c, "k", 1); status != 200 || !replayed ||
			!bytes.Equal(body, first) {
			t.Errorf("%s: got %d, %v: %s", name, status, replayed, body)
		}
	}
	if status, _, body := written(t, there, "k", 2); status != 422 ||
		!bytes.Contains(body, []byte(`"Idempotency-Key"`)) {
		t.Errorf("with another body: got %d: %s", status, body)
	}
	if status, replayed, body := written(t, one.as(store.Admin), "k", 1); status != 200 ||
		replayed || !bytes.Contains(body, []byte(`"duplicates":1`)) {
		t.Errorf("of another user: got %d, %v: %s", status, replayed, body)
	}
	token := one.token(one.users[store.Engineer])
	same := `{ "readings" : [ {"value":1.0, "timestamp":"2026-03-04T03:00:00.000Z", ` +
		`"sensor_id":1} ] }`
	if res := one.send("POST", "/api/data", token, same, "Idempotency-Key",
		"k"); res.StatusCode != 200 || res.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same readings written otherwise: got %d: %s", res.StatusCode, res.body)
	}
	if res := one.send("POST", "/api/data", token, same); res.StatusCode != 200 ||
		res.Header.Get("Idempotency-Replayed") != "" ||
		!strings.Contains(string(res.body), `"duplicates":1`) {
		t.Errorf("without a key: got %d: %s", res.StatusCode, res.body)
	}
}

func TestIdempotency_InvalidKeys(t *testing.T) {
	s := start(t)
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	const body = `{"readings":[{"sensor_id":1,"value":1}]}`
	for key, want := range map[string]int{
		"": 400, strings.Repeat("x", 256): 400, "a b": 400, "a\tb": 400, "ä": 400,
		"x": 200, strings.Repeat("x", 255): 200, `"8e03978e-40d5-43dd-bc93-6894a57f9324"`: 200,
		"a,b;c=d/%41&<>'\\": 200, "null": 200, "~!": 200,
	} {
		res := s.send("POST", "/api/data", token, body, "Idempotency-Key", key)
		if res.StatusCode != want || want == 400 && !names(res, "Idempotency-Key") {
			t.Errorf("%q: got %d, want %d: %s", key, res.StatusCode, want, res.body)
		}
	}
	if res := s.send("POST", "/api/data", token, body, "Idempotency-Key",
		"a,b;c=d/%41&"+
			"<>'\\"); res.StatusCode == 200 && res.Header.Get("Idempotency-Replayed") != "true" {
		t.Error("a key of signs is not the same the second time")
	}
	req, _ := http.NewRequest("POST", s.url+"/api/data", strings.NewReader(body))
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
		"Idempotency-Key": {"a", "b"},
	}
	res, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("two keys: got %d, want 400", res.StatusCode)
	}
}

// gated makes POST /api/data wait in the handler: it says on entered that it is there, and takes
// what comes of it from outcomes.
func gated(entered chan<- struct{}, outcomes <-chan error) option {
	return func(_ *config, d *server.Deps) {
		write := d.Write
		d.Write = func(ctx context.Context, rs []store.Reading) ([]store.ReadingResult, error) {
			entered <- struct{}{}
			if err := <-outcomes; err != nil {
				return nil, err
			}
			return write(ctx, rs)
		}
	}
}

func TestIdempotency_KeyOfARunningRequest(t *testing.T) {
	entered, outcomes := make(chan struct{}), make(chan error)
	s := start(t, gated(entered, outcomes))
	s.addSensor(s.addGateway().ID)
	c := s.as(store.Engineer)
	first := make(chan int)
	go func() {
		status, _, _ := written(t, c, "k", 1)
		first <- status
	}()
	<-entered
	res := must(c.WriteReadingsWithResponse(t.Context(),
		&client.WriteReadingsParams{IdempotencyKey: new("k")}, client.ReadingsWriteRequest{
			Readings: []client.ReadingCreate{
				{SensorID: 1, Timestamp: &at3, Value: nullable.NewNullableWithValue(1.)},
			},
		}))
	if res.StatusCode() != 409 || res.HTTPResponse.Header.Get("Retry-After") == "" {
		t.Errorf("meanwhile: got %d, Retry-After %q: %s", res.StatusCode(),
			res.HTTPResponse.Header.Get("Retry-After"), res.Body)
	}
	if status, _, body := written(t, c, "k", 2); status != 422 {
		t.Errorf("meanwhile, with another body: got %d: %s", status, body)
	}
	outcomes <- nil
	if status := <-first; status != 200 {
		t.Errorf("the first: got %d", status)
	}
	if status, replayed, _ := written(t, c, "k", 1); status != 200 || !replayed {
		t.Errorf("after it: got %d, %v", status, replayed)
	}
}

func TestIdempotency_ErrorsAreNotKept(t *testing.T) {
	entered, outcomes := make(chan struct{}, 9), make(chan error, 9)
	s := start(t, gated(entered, outcomes))
	s.addSensor(s.addGateway().ID)
	c := s.as(store.Engineer)
	outcomes <- store.ErrUnavailable
	outcomes <- errors.New("broken")
	outcomes <- nil
	for _, want := range []int{503, 500, 200} {
		if status, replayed, body := written(t, c, "k", 1); status != want || replayed {
			t.Errorf("got %d, %v, want %d: %s", status, replayed, want, body)
		}
	}
	if status, replayed, _ := written(t, c, "k", 1); status != 200 || !replayed {
		t.Errorf("then: got %d, %v", status, replayed)
	}
}

// TestIdempotency_ClientThatDisconnectedFindsTheAnswer has the connection break after the write
// began.
func TestIdempotency_ClientThatDisconnectedFindsTheAnswer(t *testing.T) {
	entered, outcomes := make(chan struct{}, 9), make(chan error, 9)
	s := start(t, gated(entered, outcomes))
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	ctx, cancel := context.WithCancel(t.Context())
	const body = `{"readings":[{"sensor_id":1,"value":1,"timestamp":"2026-03-04T03:00:00Z"}]}`
	req, _ := http.NewRequestWithContext(ctx, "POST", s.url+"/api/data", strings.NewReader(body))
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"},
		"Idempotency-Key": {"k"},
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if res, err := s.http.Do(req); err == nil {
			res.Body.Close()
			t.Error("it was answered")
		}
	}()
	<-entered
	cancel()
	<-gone
	time.Sleep(50 * time.Millisecond) // the server has seen it
	outcomes <- nil
	outcomes <- nil // for a second time that must not be
	within(t, 5*time.Second, "the answer is there", func() bool {
		res := s.send("POST", "/api/data", token, body, "Idempotency-Key", "k")
		return res.StatusCode == 200 && res.Header.Get("Idempotency-Replayed") == "true" &&
			strings.Contains(string(res.body), `"stored":1`)
	})
	if len(entered) > 0 {
		t.Error("it was done a second time")
	}
}

// TestIdempotency_CrashBeforeTheAnswerIsKept has an instance end between the commit and keeping the
// answer.
func TestIdempotency_CrashBeforeTheAnswerIsKept(t *testing.T) {
	dsn := pgtest.DSN(t) + " synchronous_commit=on"
	s := startOn(t, dsn, func(c *config, _ *server.Deps) { c.RequestTimeout = time.Second })
	s.addSensor(s.addGateway().ID)
	token := s.token(s.users[store.Engineer])
	const body = `{"readings":[{"sensor_id":1,"value":1,"timestamp":"2026-03-04T03:00:00Z"}]}`
	send := func() answer {
		return s.send("POST", "/api/data", token, body, "Idempotency-Key",
			"k")
	}
	if res := send(); res.StatusCode != 200 {
		t.Fatalf("got %d: %s", res.StatusCode, res.body)
	}
	db := must(sql.Open("postgres", dsn))
	defer db.Close()
	// as the crash leaves it
	if _, err := db.ExecContext(t.Context(),
		`UPDATE idempotency_keys SET answer = NULL`); err != nil {
		t.Fatal(err)
	}
	if res := send(); res.StatusCode != 409 {
		t.Errorf("at once: got %d: %s", res.StatusCode, res.body)
	}
	var last answer
	within(t, 10*time.Second, "it is done again",
		func() bool { last = send(); return last.StatusCode == 200 })
	if last.Header.Get("Idempotency-Replayed") != "" ||
		!strings.Contains(string(last.body), `"duplicates":1`) {
		t.Errorf("got %s", last.body)
	}
	if again := send(); again.Header.Get("Idempotency-Replayed") != "true" ||
		!bytes.Equal(again.body, last.body) {
		t.Errorf("and again: got %s", again.body)
	}
}

func TestIdempotency_OfConcurrentRequestsOneRuns(t *testing.T) {
	var done atomic.Int32
	s := start(t, func(_ *config, d *server.Deps) {
		write := d.Write
		d.Write = func(ctx context.Context, rs []store.Reading) ([]store.ReadingResult, error) {
			done.Add(1)
			return write(ctx, rs)
		}
	})
	s.addSensor(s.addGateway().ID)
	c := s.as(store.Engineer)
	statuses := make(chan int, 20)
	for range cap(statuses) {
		go func() {
			status, _, _ := written(t, c, "k", 1)
			statuses <- status
		}()
	}
	for range cap(statuses) {
		if status := <-statuses; status != 200 && status != 409 {
			t.Errorf("got %d", status)
		}
	}
	if n := done.Load(); n != 1 {
		t.Errorf("done %d times", n)
	}
}
